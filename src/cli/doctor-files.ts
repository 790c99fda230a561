/** What doctor sees of the folders that pipelines read. */
import { access, constants, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '../errors.ts'
import type { Plan } from '../plan/plan.ts'
import { claimedFolder } from '../sources/files/claims.ts'
import { claimsIn, countWaiting, filesSources, leftAloneInWords } from '../sources/files/waiting.ts'
import { type Finding, found, ok } from './finding.ts'
import type { Machine } from './machine.ts'
import { counted, printable } from './text.ts'

const oldClaimMs = 3_600_000

export async function* sourceFolders(plan: Plan, machine: Machine): AsyncGenerator<Finding> {
  for (const { folder } of filesSources(plan)) {
    const problem = await whyNoFolder(folder)
    if (problem !== undefined) {
      yield found('SOURCE_FOLDER_UNUSABLE', `${plan.name} cannot use ${folder}: ${problem}`)
      continue
    }
    const there = await stat(folder).catch(() => undefined)
    if (there === undefined) {
      yield ok('source folder', `${folder} is made by the first start`)
      continue
    }
    const elsewhere = await onOtherDisks(folder, machine)
    if (elsewhere.length > 0) {
      yield found('CLAIMS_ON_ANOTHER_DISK', `${elsewhere.join(' and ')} of ${folder} lie on another disk than it`)
      continue
    }
    yield* noticed(folder, machine)
    const { waiting, leftAlone } = await countWaiting(plan)
    yield ok('source folder', `${folder}, ${counted(waiting, 'file')} waiting`)
    if (leftAlone.length > 0) {
      yield found('FILES_LEFT_ALONE', printable(`${folder} holds ${leftAloneInWords(leftAlone)}`))
    }
    const old = (await claimsIn(folder)).filter(({ claimedAt }) => machine.now() - claimedAt.getTime() > oldClaimMs)
    if (old.length > 0) {
      const verb = old.length === 1 ? 'was' : 'were'
      yield found(
        'CLAIMS_STALE',
        printable(
          `${counted(old.length, 'file')} ${verb} taken over an hour ago and not finished, such as ${old[0]?.path}`,
        ),
      )
    }
  }
}

async function whyNoFolder(folder: string): Promise<string | undefined> {
  try {
    const stats = await stat(folder)
    if (!stats.isDirectory()) return 'it is not a folder'
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) return messageOf(error)
    // it will be made, if the nearest folder above it that is there lets us
    return dirname(folder) === folder ? messageOf(error) : await whyNoFolder(dirname(folder))
  }
}

// Files go there by being renamed, which no disk does with another.
async function onOtherDisks(folder: string, machine: Machine): Promise<string[]> {
  const here = await machine.disk(folder)
  const elsewhere: string[] = []
  for (const [name, path] of [
    ['.claimed', claimedFolder(folder)],
    ['done', join(folder, 'done')],
  ] as const) {
    const there = await machine.disk(path)
    if (there !== undefined && there !== here) elsewhere.push(name)
  }
  return elsewhere
}

async function* noticed(folder: string, machine: Machine): AsyncGenerator<Finding> {
  const network = await machine.networkDisk(folder)
  if (network !== undefined) yield found('FOLDER_NOT_WATCHED', `${folder} is on ${network}`)
  const why = machine.whyNoNotices(folder)
  // no more watches, and no more of those who watch
  if (why === 'ENOSPC' || why === 'EMFILE') yield found('INOTIFY_LIMIT', `${folder} cannot be watched: ${why}`)
  else if (why !== undefined) {
    yield found(
      'FOLDER_NOT_WATCHED',
      `${folder} cannot be watched: ${why}`,
      'nothing is lost: it is looked at every second',
    )
  }
}

/**
 * Files that a pipeline writes, one a batch. A file is written whole and made durable beside its place before the batch
 * commits, and takes its name after: so there is a file for each batch that was committed, once, and for no other.
 */
import { copyFile, link, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asDiskFull } from '../errors.ts'
import type { FilesStep, Plan } from '../plan/plan.ts'
import { fileName, writeFileSql } from '../sinks/files.ts'
import type { LedgerLine } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'

export function fileSinks(plan: Plan): FilesStep[] {
  return plan.steps.filter((step): step is FilesStep => step.op === 'files')
}

/** Writes the rows of a batch that is about to commit. Nothing is written when there are none. */
export async function writePending(
  session: DuckSession,
  spool: string,
  plan: Plan,
  step: FilesStep,
  batch: { rows: string; epoch: number; number: number; ordered: boolean },
): Promise<number> {
  const pending = pendingPath(plan.name, step, batch.epoch, batch.number)
  const written = join(spool, `${batch.number}-${step.id}`)
  const rows = await session.run(writeFileSql(step, batch.rows, written, batch.ordered))
  if (rows === 0) {
    await rm(written, { force: true })
    return 0
  }
  try {
    await mkdir(dirname(pending), { recursive: true })
    // DuckDB may write nowhere but into the spool, which can be on another disk
    await rename(written, pending).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EXDEV') throw error
      await copyFile(written, pending)
      await rm(written)
    })
    await makeDurable(pending)
    await makeDurable(dirname(pending))
  } catch (error) {
    // this batch will not be committed with it
    await rm(pending, { force: true })
    throw asDiskFull(error, pending)
  }
  return rows
}

/** Gives the files of a committed batch their names, and removes what was written for commits that did not come to be. */
export async function publishFiles(plan: Plan, line: LedgerLine): Promise<void> {
  for (const step of fileSinks(plan)) {
    const pending = pendingPath(plan.name, step, line.epoch, line.batch)
    if (await isThere(pending))
      await publish(pending, join(step.folder, fileName(plan.name, step, line.batch, line.committedAt)))
    await removeStale(plan.name, step, line.batch)
  }
}

// What stands at the name already is another's, unless it is this very file: then only the other name has to go.
async function publish(pending: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true })
  for (let n = 1; ; n++) {
    const name = n === 1 ? target : target.replace(/(\.[a-z]+)$/, `-${n}$1`)
    try {
      await link(pending, name)
      await makeDurable(dirname(name))
      break
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      if ((await stat(name)).ino === (await stat(pending)).ino) break
    }
  }
  await rm(pending)
}

// Of this batch or an earlier one, and not published: its transaction was rolled back.
async function removeStale(pipeline: string, step: FilesStep, upTo: number): Promise<void> {
  const folder = pendingFolder(step)
  for (const name of await readdir(folder).catch(() => [])) {
    const [owner, id, , batch] = name.split('~')
    if (owner === pipeline && id === step.id && Number(batch) <= upTo) await rm(join(folder, name), { force: true })
  }
}

function pendingFolder(step: FilesStep): string {
  return join(step.folder, '.pending')
}

function pendingPath(pipeline: string, step: FilesStep, epoch: number, batch: number): string {
  return join(pendingFolder(step), [pipeline, step.id, epoch, batch].join('~'))
}

async function makeDurable(path: string): Promise<void> {
  await using handle = await open(path, 'r')
  await handle.sync()
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

/** What lies before a pipeline: files that wait in its source's folder, and those that were claimed and are not done. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { FilesSource, Plan } from '../../plan/plan.ts'
import { claimedFolder, countFolder } from './claims.ts'

export interface WaitingFiles {
  waiting: number
  claimed: number
  /** What is no regular file, as `x.csv (a folder)`: it is not read. */
  leftAlone: string[]
}

export function filesSources(plan: Plan): FilesSource[] {
  return Object.values(plan.sources).filter((source) => source.is === 'files')
}

export async function countWaiting(plan: Plan): Promise<WaitingFiles> {
  const found: WaitingFiles = { waiting: 0, claimed: 0, leftAlone: [] }
  for (const { folder } of filesSources(plan)) {
    const { files, others } = await countFolder(folder).catch(() => ({ files: 0, others: [] }))
    found.waiting += files
    found.leftAlone.push(...others.map(({ name, is }) => `${name} (${is})`))
    found.claimed += (await readdir(claimedFolder(folder)).catch(() => [])).length
  }
  return found
}

/** `2 that are no regular files: a (a folder), b (a FIFO)` */
export function leftAloneInWords(names: string[]): string {
  const shown = names.slice(0, 3).join(', ')
  const rest = names.length > 3 ? ` and ${names.length - 3} more` : ''
  return `${names.length} that ${names.length === 1 ? 'is no regular file' : 'are no regular files'}: ${shown}${rest}`
}

export interface ClaimedFile {
  path: string
  claimedAt: Date
}

/** Claims as they lie there. It changes nothing: a worker may be about to move its file into an empty one. */
export async function claimsIn(folder: string): Promise<ClaimedFile[]> {
  const home = claimedFolder(folder)
  const claims: ClaimedFile[] = []
  for (const id of await readdir(home).catch(() => [])) {
    const [name] = await readdir(join(home, id)).catch(() => [])
    const stats = name === undefined ? undefined : await stat(join(home, id)).catch(() => undefined)
    if (name !== undefined && stats !== undefined) claims.push({ path: join(home, id, name), claimedAt: stats.mtime })
  }
  return claims
}

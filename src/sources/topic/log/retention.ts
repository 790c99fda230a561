import { rm, stat } from 'node:fs/promises'
import { indexPath, listSegments, segmentPath } from './layout.ts'
import type { ResolvedLogOptions } from './options.ts'
import { slowestReader } from './positions.ts'

/** Removes the oldest segments that are too old or too much, as far as every pipeline has passed them; never the last. */
export async function removeOldSegments(
  partitionPath: string,
  { keepForMs, keepBytes, now }: Pick<ResolvedLogOptions, 'keepForMs' | 'keepBytes' | 'now'>,
): Promise<void> {
  const firsts = await listSegments(partitionPath)
  const passed = await slowestReader(partitionPath)
  const segments = await Promise.all(
    firsts.map(async (first) => ({ first, stats: await stat(segmentPath(partitionPath, first)) })),
  )
  let kept = segments.reduce((bytes, { stats }) => bytes + stats.size, 0)
  for (const [n, { first, stats }] of segments.entries()) {
    const end = firsts[n + 1]
    if (end === undefined || end > passed) return
    if (kept <= keepBytes && now() - stats.mtimeMs <= keepForMs) return
    // in this order: a segment without an index gets one, an index without a segment would stay
    await rm(indexPath(partitionPath, first), { force: true })
    await rm(segmentPath(partitionPath, first))
    kept -= stats.size
  }
}

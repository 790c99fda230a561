import { type FileHandle, open, rm } from 'node:fs/promises'
import type { End, EndFile } from './durable-end.ts'
import { addToIndex, readIndex, writeIndex } from './index-file.ts'
import { indexPath, listSegments, segmentPath } from './layout.ts'
import { damaged, type Place, scanFrames } from './scan.ts'

/** What a writer goes on from. */
export interface Recovered {
  end: End
  index: Place[]
}

/**
 * Brings a partition into order that may have been left in the middle of an append, or by a power cut.
 *
 * What lies before the end must be whole, else TOPIC_DAMAGED. Whole frames behind it are kept: after a power cut they may have
 * been acknowledged, since the end itself is not synced with every append; and one who was killed in the middle of an append has
 * told nobody that it failed. All that follows the last whole frame is cut.
 */
export async function recover(partitionPath: string, endFile: EndFile): Promise<Recovered> {
  const before = endFile.read()
  const end = await wholeTo(partitionPath, before)
  for (const segment of await listSegments(partitionPath)) {
    if (segment < before.segment) continue
    if (segment > end.segment) {
      await rm(indexPath(partitionPath, segment), { force: true })
      await rm(segmentPath(partitionPath, segment))
      continue
    }
    await using file = await open(segmentPath(partitionPath, segment), 'r+')
    if (segment === end.segment) await file.truncate(end.position)
    await file.sync()
  }
  const index = await tailIndex(partitionPath, end)
  await writeIndex(partitionPath, end.segment, index)
  if (end.offset > before.offset) endFile.write(end)
  await endFile.sync()
  return { end, index }
}

/** How far whole frames go from the end on. */
export async function wholeTo(partitionPath: string, end: End): Promise<End> {
  let reached = end
  for (const segment of await listSegments(partitionPath)) {
    if (segment < end.segment) continue
    if (segment > end.segment && segment !== reached.offset) break
    const from = segment === end.segment ? end.position : 0
    await using file = await open(segmentPath(partitionPath, segment), 'r')
    const { size } = await file.stat()
    if (size < from) throw damaged(segmentPath(partitionPath, segment), size, 'the file ends before the log does')
    const { at, whole } = await scanFrames(file, { number: reached.offset - segment, position: from }, size)
    // a segment without a frame is none
    if (at.position > from) reached = { segment, position: at.position, offset: segment + at.number }
    if (!whole) break
  }
  return reached
}

// The frames since the last one of the index are looked at: they are what a crash would have harmed.
async function tailIndex(partitionPath: string, end: End): Promise<Place[]> {
  if (end.position === 0) return []
  const path = segmentPath(partitionPath, end.segment)
  await using file = await openOrDamaged(path)
  const known = (await readIndex(partitionPath, end.segment)).filter(({ position }) => position < end.position)
  let wholeUpTo = 0
  // if they do not fit, the index may be wrong: without it all of the segment is looked at
  for (const index of [known, []]) {
    const from = index.at(-1) ?? { number: 0, position: 0 }
    const { at, whole } = await scanFrames(file, from, end.position, (place) => addToIndex(index, place))
    if (whole && at.number === end.offset - end.segment) return index
    wholeUpTo = at.position
  }
  throw damaged(path, wholeUpTo, 'there is no whole record here, though it was written')
}

async function openOrDamaged(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    throw damaged(path, 0, `the segment cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

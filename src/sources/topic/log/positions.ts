/** How far each pipeline has read a partition, so that nothing is removed before it was read. */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asDiskFull } from '../../../errors.ts'

const ending = '.position'

/** Keeps the position of a pipeline. It is not synced: an older one only keeps more. */
export async function keepPosition(partitionPath: string, pipeline: string, offset: number): Promise<void> {
  const path = positionPath(partitionPath, pipeline)
  // not among the positions as long as it is half written
  const making = `${path}.${randomUUID()}`
  await mkdir(readersPath(partitionPath), { recursive: true })
  try {
    await writeFile(making, String(offset))
    await rename(making, path)
  } catch (error) {
    await rm(making, { force: true })
    throw asDiskFull(error, path)
  }
}

/** Undefined for a pipeline that has never read here. */
export async function positionOf(partitionPath: string, pipeline: string): Promise<number | undefined> {
  return await positionIn(positionPath(partitionPath, pipeline))
}

/** The offset that every pipeline has reached. */
export async function slowestReader(partitionPath: string): Promise<number> {
  let slowest = Number.POSITIVE_INFINITY
  for (const name of await readdir(readersPath(partitionPath)).catch(() => [])) {
    if (!name.endsWith(ending)) continue
    slowest = Math.min(slowest, (await positionIn(join(readersPath(partitionPath), name))) ?? Number.POSITIVE_INFINITY)
  }
  return slowest
}

function readersPath(partitionPath: string): string {
  return join(partitionPath, 'readers')
}

function positionPath(partitionPath: string, pipeline: string): string {
  return join(readersPath(partitionPath), `${encodeURIComponent(pipeline)}${ending}`)
}

async function positionIn(path: string): Promise<number | undefined> {
  try {
    const text = await readFile(path, 'utf8')
    // what a power cut has emptied keeps everything
    return /^\d+$/.test(text) ? Number(text) : 0
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

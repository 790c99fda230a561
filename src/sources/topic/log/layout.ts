/**
 * Where things lie: `<topic>/<partition>/<first offset>.log` and `.index` beside it, `<topic>/<partition>/end`,
 * `<topic>/<partition>/readers/<pipeline>.position`; `<topic>/writer.lock`, and `<topic>/writer`, which names its holder.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../../../errors.ts'
import { createEndFile } from './durable-end.ts'

/** Whether it can be the name of a topic, of Kafka's too. */
export function isTopicName(text: string): boolean {
  return /^[a-zA-Z0-9._-]{1,249}$/.test(text) && text !== '.' && text !== '..'
}

/** The folder of a topic. Throws on a name that is none: it becomes part of a path. */
export function topicFolder(folder: string, topic: string): string {
  if (isTopicName(topic)) return join(folder, topic)
  throw new MillraceError('INVALID_PLAN', {
    at: `topic(${JSON.stringify(topic)})`,
    message: 'this cannot be the name of a topic',
    hint: 'a name has up to 249 letters, digits, dots, underscores and hyphens, and is neither "." nor ".."',
  })
}

/** Makes a topic unless it is there. Its number of partitions stays: keys would move to others. */
export async function createTopic(folder: string, topic: string, partitions: number): Promise<void> {
  const path = topicFolder(folder, topic)
  if ((await countPartitions(path)) > 0) return
  // no topic has this character in its name; and whoever sees the topic sees it whole
  const making = join(folder, `~${randomUUID()}`)
  for (let partition = 0; partition < partitions; partition++) {
    await mkdir(join(making, String(partition), 'readers'), { recursive: true })
    await createEndFile(join(making, String(partition)))
    await syncFolder(join(making, String(partition)))
  }
  // so that taking the lock needs no room
  await writeFile(join(making, 'writer.lock'), '')
  await syncFolder(making)
  try {
    await rename(making, path)
  } catch (error) {
    await rm(making, { recursive: true, force: true })
    // somebody else made it in between
    if ((await countPartitions(path)) === 0) throw error
  }
  await syncFolder(folder)
}

/** None while there is no such topic. */
export async function countPartitions(topicPath: string): Promise<number> {
  const names = await readdir(topicPath).catch(nothingThere)
  return names.filter((name) => /^\d+$/.test(name)).length
}

/** The first offsets of a partition's segments, in order. */
export async function listSegments(partitionPath: string): Promise<number[]> {
  const names = await readdir(partitionPath)
  return names
    .filter((name) => /^\d{20}\.log$/.test(name))
    .map((name) => Number(name.slice(0, 20)))
    .sort((a, b) => a - b)
}

export function segmentPath(partitionPath: string, first: number): string {
  return join(partitionPath, `${String(first).padStart(20, '0')}.log`)
}

export function indexPath(partitionPath: string, first: number): string {
  return join(partitionPath, `${String(first).padStart(20, '0')}.index`)
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}

function nothingThere(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return []
  throw error
}

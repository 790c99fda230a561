import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MillraceError } from '../../../errors.ts'

const busy = 5

/**
 * Takes the right to write a topic, or throws TOPIC_LOCKED with the one who has it. The lock is an exclusive transaction,
 * so the kernel frees it when its holder dies in whatever way. Nobody may open the lock's file but by this: closing it would
 * free the lock. Hence the holder stands in a file beside it.
 */
export function lockTopic(topicPath: string, topic: string): Disposable {
  const path = join(topicPath, 'writer.lock')
  const holder = join(topicPath, 'writer')
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    // a journal on the disk would need room
    database.exec('pragma journal_mode = memory; begin exclusive')
    writeFileSync(holder, `${hostname()}:${process.pid}\n`)
  } catch (cause) {
    database.close()
    if (cause instanceof Error && 'errcode' in cause && cause.errcode === busy) throw locked(topic, holder, cause)
    throw cause
  }
  return {
    [Symbol.dispose]() {
      rmSync(holder, { force: true })
      database.close()
    },
  }
}

function locked(topic: string, holderPath: string, cause: unknown): MillraceError {
  return new MillraceError('TOPIC_LOCKED', {
    at: `topic ${topic}`,
    message: `${holderIn(holderPath)} writes this topic`,
    hint: 'a local topic has one writing process: end that one, or send it what is to be written',
    retry: true,
    cause,
  })
}

function holderIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim() || 'another process'
  } catch {
    // it has just taken the lock, or is about to free it
    return 'another process'
  }
}

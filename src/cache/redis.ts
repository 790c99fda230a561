/** A cache in Redis: each answer under its key, and beside it the mark of who makes it anew. */
import { randomUUID } from 'node:crypto'
import { createClient } from '@redis/client'
import { MillraceError } from '../errors.ts'
import type { CachePlace } from './cache.ts'

/** A cache that takes longer helps nobody. */
const patienceMs = 250
/** Keys of one command: Redis does nothing else meanwhile. */
const atOnce = 1_000
/** Whoever makes an answer for so long keeps it for himself. */
const markSeconds = 30

const keepScript = `
if redis.call('get', KEYS[2]) == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
  redis.call('del', KEYS[2])
end`

// Apart from answers, whatever their keys are.
const markOf = (key: string): string => `millrace:mark:${key}`

// What a pattern would read as anything but itself.
const literal = (text: string): string => text.replaceAll(/[\\*?[\]]/g, '\\$&')

export function redisPlace(url: string, ttlSeconds: number): CachePlace {
  const client = createClient({
    url,
    // what is asked while it is away fails at once
    disableOfflineQueue: true,
    socket: { connectTimeout: 2_000, reconnectStrategy: (tries) => Math.min(100 * 2 ** tries, 2_000) },
  })
  let fault: unknown
  client.on('error', (error) => {
    fault = error
  })
  // it goes on trying by itself; a first attempt that fails is told by the first question
  const connecting = client.connect().catch((error: unknown) => {
    fault = error
  })

  async function within<T>(answer: () => Promise<T>): Promise<T> {
    const { promise: tooLong, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        reject(
          new MillraceError('CACHE_FAILED', { message: `Redis did not answer within ${patienceMs} ms`, cause: fault }),
        ),
      patienceMs,
    )
    try {
      if (!client.isReady) await Promise.race([connecting, tooLong])
      const answering = answer()
      // who gave up waiting does not hear of it
      answering.catch(() => {})
      return await Promise.race([answering, tooLong])
    } finally {
      clearTimeout(timer)
    }
  }

  async function unlink(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += atOnce) {
      const some = keys.slice(at, at + atOnce)
      await within(() => client.unlink(some))
    }
  }

  async function unlinkAll(pattern: string): Promise<void> {
    let cursor = '0'
    do {
      const found = await within(() => client.scan(cursor, { MATCH: pattern, COUNT: atOnce }))
      await unlink(found.keys)
      cursor = found.cursor
    } while (cursor !== '0')
  }

  return {
    read: async (key) => (await within(() => client.get(key))) ?? undefined,
    async mark(key) {
      const mark = randomUUID()
      await within(() => client.set(markOf(key), mark, { expiration: { type: 'EX', value: markSeconds } }))
      return mark
    },
    async keep(key, mark, json) {
      await within(() =>
        client.eval(keepScript, { keys: [key, markOf(key)], arguments: [mark, json, String(ttlSeconds)] }),
      )
    },
    async drop({ prefix, keys }) {
      if (keys !== undefined) return await unlink(keys.flatMap((key) => [key, markOf(key)]))
      // Marks first: once they are gone nothing is kept that was made before. A scan misses none that was there all along.
      await unlinkAll(`${literal(markOf(prefix))}*`)
      await unlinkAll(`${literal(prefix)}*`)
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
      await connecting
    },
  }
}

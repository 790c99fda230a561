/** Drops from a cache outside of the processes what commits have noted. Twice does no harm: several processes may do it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import type { Log } from '../log.ts'
import { type CacheDrop, dropChannel } from '../store/cache-drops.ts'
import type { Sessions } from '../store/sessions.ts'
import type { OpenCache } from './cache.ts'

type Dropping = Pick<OpenCache, 'drop'>

const notesAtOnce = 100
const againMs = 1_000

/** Until nothing is noted. Answers false when the cache could not be reached: then it stays noted. */
export async function dropNoted(cache: Dropping, sessions: Sessions): Promise<boolean> {
  for (;;) {
    const { rows } = await sessions.query(
      `
      select id, prefix, keys
      from   millrace.cache_drops
      order by id
      limit  ${notesAtOnce}`,
    )
    if (rows.length === 0) return true
    await failpoint('cache drop')
    // as: the columns of the table
    for (const drop of merged(rows as unknown as CacheDrop[])) {
      if (!(await cache.drop(drop))) return false
    }
    await sessions.query('delete from millrace.cache_drops where id = any($1)', [rows.map(({ id }) => id)])
  }
}

// Batches that follow each other drop much the same.
function merged(drops: readonly CacheDrop[]): CacheDrop[] {
  const whole = new Set(drops.filter(({ keys }) => keys === null || keys === undefined).map(({ prefix }) => prefix))
  const keys = new Set(drops.flatMap((drop) => (whole.has(drop.prefix) ? [] : (drop.keys ?? []))))
  return [...[...whole].map((prefix) => ({ prefix })), ...(keys.size > 0 ? [{ prefix: '', keys: [...keys] }] : [])]
}

/** Drops what is noted already and, woken by each commit, what comes to be, until it is disposed of. */
export function followDrops(cache: Dropping, sessions: Sessions, log: Log): AsyncDisposable {
  const end = new AbortController()
  const { signal } = end
  let due = true
  let wake: () => void = () => {}
  let failed = false
  const nudge = (): void => {
    due = true
    wake()
  }

  async function attempt(): Promise<boolean> {
    try {
      const done = await dropNoted(cache, sessions)
      failed = false
      return done
    } catch (error) {
      if (!failed && !signal.aborted) log.warn('what is old stays in the cache for now', { why: messageOf(error) })
      failed = true
      return false
    }
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      if (due) {
        due = false
        if (await attempt()) continue
        await sleep(againMs, undefined, { signal }).catch(() => {})
        due = true
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
  }

  sessions.listen({ channel: dropChannel, onOpen: nudge, onMessage: nudge })
  const running = run()
  return {
    async [Symbol.asyncDispose]() {
      end.abort()
      nudge()
      await running
    },
  }
}

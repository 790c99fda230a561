import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { EmbeddedPostgres } from '../store/embedded/open.ts'
import type { OpenDatabase } from './open.ts'

const lookMs = 1000

/** The embedded Postgres may be killed by whoever; until this is disposed of, it is started again. */
export function keepPostgresUp(
  { embedded }: Pick<OpenDatabase, 'embedded'>,
  log: Log,
  /** Hears why it does not come up, and of the end of that. */
  onFault: (why: string | undefined) => void = () => {},
): Disposable {
  const stop = new AbortController()
  // not waited for at the end: it asks a database that may not answer
  if (embedded !== undefined) void keepUp(embedded, stop.signal, log, onFault)
  return { [Symbol.dispose]: () => stop.abort() }
}

async function keepUp(
  embedded: EmbeddedPostgres,
  signal: AbortSignal,
  log: Log,
  onFault: (why: string | undefined) => void,
): Promise<void> {
  let said: string | undefined
  while (!signal.aborted) {
    try {
      await embedded.ensureUp()
      if (said !== undefined) onFault(undefined)
      said = undefined
    } catch (error) {
      const why = messageOf(error)
      // closed meanwhile, by the one who wanted it up
      if (why !== said && !signal.aborted) log.warn('the embedded Postgres does not come up', { why })
      said = why
      onFault(why)
    }
    await sleep(lookMs, undefined, { signal }).catch(() => {})
  }
}

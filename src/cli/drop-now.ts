import { dropNoted } from '../cache/drops.ts'
import { isShared, openCache } from '../cache/open.ts'
import type { Config } from '../config.ts'
import type { PostgresStore } from '../store/postgres.ts'
import { commandLog } from './open.ts'

/**
 * A verb that ends takes what it has made old out of a cache that others share, for perhaps nobody else runs. One that does
 * not answer is told by whoever starts next.
 */
export async function dropNow(store: PostgresStore, config: Config): Promise<void> {
  if (!isShared(config)) return
  await using cache = openCache(config, commandLog(config))
  await using sessions = store.sessions(1)
  await dropNoted(cache, sessions)
}

/** The cache of the configuration: Redis where it is set, else this process. */
import type { Config } from '../config.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Sessions } from '../store/sessions.ts'
import { cacheOver, type OpenCache } from './cache.ts'
import { memoryPlace } from './memory.ts'
import { redisPlace } from './redis.ts'

/** The channel on which the keys of answers are told that were dropped, as a JSON list; an empty one means all. */
export const dropChannel = 'millrace_cache'

export interface ProcessCache extends OpenCache {
  /** Hears from now on what other processes drop. */
  follow(sessions: Sessions): void
}

export function openCache({ cache: { redisUrl, ttlSeconds } }: Pick<Config, 'cache'>, log: Log): ProcessCache {
  const told = {
    onFault: (why: unknown) => log.warn('the cache failed; answers are made anew', { why: messageOf(why) }),
    onAnswer: () => log.info('the cache answers again'),
  }
  if (redisUrl !== undefined) {
    return { ...cacheOver({ place: redisPlace(redisUrl, ttlSeconds), shared: true, ...told }), follow() {} }
  }
  const place = memoryPlace(ttlSeconds * 1000)
  const cache = cacheOver({ place, shared: false, ...told })
  return {
    ...cache,
    follow(sessions) {
      sessions.listen({
        channel: dropChannel,
        onOpen: () => place.hears(true),
        onLost: () => place.hears(false),
        onMessage(payload) {
          const keys: string[] = JSON.parse(payload)
          if (keys.length === 0) place.hears(true)
          // a place in memory does not fail
          else void cache.drop(keys)
        },
      })
    },
  }
}

/** The cache of the configuration: Redis where it is set, else this process. */
import type { Config } from '../config.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { type CacheDrop, dropChannel } from '../store/cache-drops.ts'
import type { Sessions } from '../store/sessions.ts'
import { cacheOver, type OpenCache } from './cache.ts'
import { followDrops } from './drops.ts'
import { memoryPlace } from './memory.ts'
import { redisPlace } from './redis.ts'

export interface ProcessCache extends OpenCache {
  /** Drops from now on, until that is disposed of, what commits of any process make old. */
  follow(sessions: Sessions): AsyncDisposable
}

/** Whether the cache of a configuration is outside of the processes. */
export const isShared = ({ cache }: Pick<Config, 'cache'>): boolean => cache.redisUrl !== undefined

export function openCache({ cache: { redisUrl, ttlSeconds } }: Pick<Config, 'cache'>, log: Log): ProcessCache {
  const told = {
    onFault: (why: unknown) => log.warn('the cache failed; answers are made anew', { why: messageOf(why) }),
    onAnswer: () => log.info('the cache answers again'),
  }
  if (redisUrl !== undefined) {
    const cache = cacheOver({ place: redisPlace(redisUrl, ttlSeconds), ...told })
    return { ...cache, follow: (sessions) => followDrops(cache, sessions, log) }
  }
  const place = memoryPlace(ttlSeconds * 1000)
  const cache = cacheOver({ place, ...told })
  return {
    ...cache,
    follow(sessions) {
      sessions.listen({
        channel: dropChannel,
        onOpen: () => place.hears(true),
        onLost: () => place.hears(false),
        onMessage(payload) {
          // whoever keeps answers in Redis tells nothing but that
          if (payload === '') return
          const drop: CacheDrop = JSON.parse(payload)
          // a place in memory does not fail
          void cache.drop(drop)
        },
      })
      // the sessions end it
      return { async [Symbol.asyncDispose]() {} }
    },
  }
}

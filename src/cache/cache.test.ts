import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { eventually } from '../../test/crash/process.ts'
import { noRedis, startRedis, type TestRedis } from '../../test/redis.ts'
import { type CachePlace, cacheOver, type OpenCache } from './cache.ts'
import { memoryPlace } from './memory.ts'
import { redisPlace } from './redis.ts'

interface Opened extends AsyncDisposable {
  cache: OpenCache
  /** What was told of faults. */
  told: string[]
  /** Makes what was kept so much older. */
  age(ms: number): Promise<void>
}

function opened(
  place: CachePlace,
  more: Pick<Opened, 'age'> & { now?: () => number; close?: () => Promise<void> },
): Opened {
  const told: string[] = []
  const cache = cacheOver({
    place,
    ...(more.now ? { now: more.now } : {}),
    onFault: (why) => told.push(`fault: ${why}`),
    onAnswer: () => told.push('it answers'),
  })
  return {
    cache,
    told,
    age: more.age,
    async [Symbol.asyncDispose]() {
      await cache[Symbol.asyncDispose]()
      await more.close?.()
    },
  }
}

async function inMemory(): Promise<Opened> {
  let now = 0
  const place = memoryPlace(3_600_000, () => now)
  place.hears(true)
  return opened(place, {
    now: () => now,
    age: async (ms) => {
      now += ms
    },
  })
}

async function inRedis(): Promise<Opened> {
  const redis = await startRedis()
  return opened(redisPlace(redis.url, 3600), {
    async age(ms) {
      for (const key of await redis.client.keys('*')) {
        const left = (await redis.client.pTTL(key)) - ms
        if (left <= 0) await redis.client.del(key)
      }
    },
    close: async () => await redis[Symbol.asyncDispose](),
  })
}

const counting = () => {
  let made = 0
  return { make: async () => ({ made: ++made, text: 'é "quoted"' }), count: () => made }
}

for (const [name, open, skip] of [
  ['in this process', inMemory, false],
  ['in Redis', inRedis, noRedis],
] as const) {
  describe(`a cache ${name}`, { concurrency: 1, skip }, () => {
    test('keeps an answer until it is dropped', async () => {
      await using world = await open()
      const { make, count } = counting()
      assert.deepEqual(await world.cache.through('a', make), { made: 1, text: 'é "quoted"' })
      assert.deepEqual(await world.cache.through('a', make), { made: 1, text: 'é "quoted"' })
      assert.equal(await world.cache.drop({ prefix: '', keys: ['a', 'b'] }), true)
      assert.equal((await world.cache.through('a', make))?.made, 2)
      assert.equal(count(), 2)
    })

    test('keeps it for so long, and no longer', async () => {
      await using world = await open()
      const { make } = counting()
      await world.cache.through('a', make)
      await world.age(3_590_000)
      assert.equal((await world.cache.through('a', make))?.made, 1)
      await world.age(3_601_000)
      assert.equal((await world.cache.through('a', make))?.made, 2)
    })

    test('does not keep what was made before a drop', async () => {
      await using world = await open()
      const { make } = counting()
      const old = await world.cache.through('a', async () => {
        const made = await make()
        await world.cache.drop({ prefix: '', keys: ['a'] })
        return made
      })
      assert.equal(old?.made, 1)
      assert.equal((await world.cache.through('a', make))?.made, 2)
      assert.equal((await world.cache.through('a', make))?.made, 2)
    })

    test('drops all that begins alike, and nothing else', async () => {
      await using world = await open()
      const { make, count } = counting()
      const keys = ['u*[:a', 'u*[:b', 'u*[:c:mark', 'ux[:a', 'u', 'v']
      for (const key of keys) await world.cache.through(key, make)
      assert.equal(count(), keys.length)
      assert.equal(await world.cache.drop({ prefix: 'u*[:' }), true)
      const stays = await Promise.all(keys.map(async (key) => (await world.cache.through(key, make))?.made))
      assert.deepEqual(
        stays.map((made) => made !== undefined && made <= keys.length),
        [false, false, false, true, true, true],
      )
    })

    test('does not keep what was made before all that begins alike was dropped', async () => {
      await using world = await open()
      const { make } = counting()
      await world.cache.through('u:a', async () => {
        const made = await make()
        await world.cache.drop({ prefix: 'u:' })
        return made
      })
      assert.equal((await world.cache.through('u:a', make))?.made, 2)
    })

    test('does not keep that there is nothing, nor that it could not be made', async () => {
      await using world = await open()
      assert.equal(await world.cache.through('a', async () => undefined), undefined)
      await assert.rejects(() => world.cache.through('a', () => Promise.reject(new Error('no'))), /no/)
      assert.equal(await world.cache.through('a', async () => 7), 7)
    })
  })
}

test('a cache in this process that does not hear of drops keeps nothing', async () => {
  const place = memoryPlace(3_600_000)
  const cache = cacheOver({ place, onFault: () => {}, onAnswer: () => {} })
  const { make } = counting()
  await cache.through('a', make)
  assert.equal((await cache.through('a', make))?.made, 2)
  place.hears(true)
  await cache.through('a', make)
  assert.equal((await cache.through('a', make))?.made, 3)
  place.hears(false)
  assert.equal((await cache.through('a', make))?.made, 4)
})

test('a cache in this process holds no more than it may: the oldest go', async () => {
  const place = memoryPlace(3_600_000)
  place.hears(true)
  const large = 'x'.repeat(1_000_000)
  for (let i = 0; i < 70; i++) await place.keep(String(i), (await place.mark(String(i))) ?? '', large)
  assert.equal(await place.read('0'), undefined)
  assert.equal(await place.read('69'), large)
})

describe('a Redis that others use too', { concurrency: 1, skip: noRedis }, () => {
  test('may hold something else under a key: it is not answered', async () => {
    await using redis = await startRedis()
    await using world = opened(redisPlace(redis.url, 3600), { age: async () => {} })
    await redis.client.set('a', 'no JSON')
    const { make, count } = counting()
    for (let i = 0; i < 2; i++) assert.equal((await world.cache.through('a', make))?.made, 1)
    assert.equal(count(), 1)
  })

  test('is scanned to its end for what begins alike', async () => {
    await using redis = await startRedis()
    await using world = opened(redisPlace(redis.url, 3600), { age: async () => {} })
    for (const name of ['other', 'user'])
      await redis.client.mSet(Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`${name} ${i}`, '1'])))
    assert.equal(await world.cache.drop({ prefix: 'user ' }), true)
    assert.equal((await redis.client.keys('user *')).length, 0)
    assert.equal((await redis.client.keys('other *')).length, 3_000)
  })
})

describe('a Redis that fails', { concurrency: 1, skip: noRedis }, () => {
  const faults: [
    sentence: string,
    harm: (redis: TestRedis) => Promise<void>,
    mend: (redis: TestRedis) => Promise<void>,
  ][] = [
    ['is killed', (redis) => redis.kill(), (redis) => redis.start()],
    ['is silent', async (redis) => redis.freeze(), async (redis) => redis.thaw()],
  ]
  for (const [sentence, harm, mend] of faults) {
    test(`is no fault of who asks: it ${sentence}`, async () => {
      await using redis = await startRedis()
      await using world = opened(redisPlace(redis.url, 3600), { age: async () => {} })
      const { make, count } = counting()
      await world.cache.through('a', make)
      await harm(redis)
      for (let i = 2; i <= 20; i++) assert.equal((await world.cache.through('a', make))?.made, i)
      assert.equal(await world.cache.drop({ prefix: '', keys: ['a'] }), false)
      assert.match(world.told.join(), /^fault: [^,]+$/)
      await mend(redis)
      // and is used again when it answers
      await eventually(
        async () => {
          const before = count()
          await world.cache.through('b', make)
          return count() === before
        },
        { what: () => `the cache keeps answers again: ${world.told}` },
      )
      assert.equal(world.told.at(-1), 'it answers')
    })
  }

  test('that was never there is no fault either', async () => {
    await using world = opened(redisPlace('redis://127.0.0.1:1/0', 3600), { age: async () => {} })
    const { make } = counting()
    assert.equal((await world.cache.through('a', make))?.made, 1)
    assert.equal((await world.cache.through('a', make))?.made, 2)
    assert.equal(world.told.length, 1)
  })
})

import assert from 'node:assert/strict'
import { newTopic, numbered, readAll, type Scenario } from './world.ts'

export function appending(scenario: Scenario): void {
  scenario('an append answers where its records lie, and they are there', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    assert.deepEqual(await writer.append(numbered(0, 3)), [{ partition: 0, first: 0, end: 3 }])
    assert.deepEqual(await writer.append(numbered(3, 4)), [{ partition: 0, first: 3, end: 4 }])
    const records = await readAll(topics, topic)
    assert.deepEqual(
      records.map(({ offset, value }) => [offset, value]),
      [0, 1, 2, 3].map((n) => [n, `record ${n}`]),
    )
  })

  scenario('an append of nothing is nothing', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    assert.deepEqual(await writer.append([]), [])
    await using reader = await topics.openReader(topic)
    assert.deepEqual(await reader.partitions(), [{ partition: 0, first: 0, end: 0 }])
  })

  scenario(
    'values are appended where they lie in their bytes, each with the same headers',
    async ({ topics, make }) => {
      const topic = newTopic()
      await make(topic, 1)
      await using writer = await topics.openWriter(topic)
      const bytes = Buffer.from('[one, two,,three]')
      const spans = Uint32Array.of(1, 4, 6, 9, 10, 10, 11, 16)
      const headers = [['trace', Buffer.from('some')]] as const
      assert.deepEqual(await writer.appendValues({ bytes, spans: spans.subarray(0, 0) }), [])
      assert.deepEqual(await writer.appendValues({ bytes, spans }), [{ partition: 0, first: 0, end: 4 }])
      assert.deepEqual(await writer.appendValues({ bytes, spans, headers }), [{ partition: 0, first: 4, end: 8 }])
      const records = await readAll(topics, topic)
      assert.deepEqual(
        records.map(({ key, value, headers }) => [key, value, headers]),
        [0, 1].flatMap((n) => ['one', 'two', '', 'three'].map((text) => [null, text, n])),
      )
      assert.deepEqual([...(records[7]?.headerBytes ?? [])], [10, ...Buffer.from('trace'), 8, ...Buffer.from('some')])
    },
  )

  scenario('a key, a value and headers come as they went, and none is not an empty one', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    const some = Buffer.from('some')
    const none = Buffer.alloc(0)
    await writer.append([
      { value: null },
      { value: none },
      { key: none, value: null },
      { key: none, value: none },
      { key: some, value: none },
      { key: some, value: some, headers: [], timestampMs: 1_700_000_000_123 },
      { value: some, headers: [['trace', some]] },
      {
        key: some,
        value: null,
        headers: [
          ['trace', some],
          ['', none],
          ['ä', Buffer.alloc(70, 'x')],
        ],
      },
    ])
    const records = await readAll(topics, topic)
    assert.deepEqual(
      records.map(({ key, value }) => [key, value]),
      [
        [null, null],
        [null, ''],
        ['', null],
        ['', ''],
        ['some', ''],
        ['some', 'some'],
        [null, 'some'],
        ['some', null],
      ],
    )
    assert.equal(records[5]?.timestampMs, 1_700_000_000_123)
    // lengths are zigzag varints: 5 is written as 10, 70 as 140, which takes two bytes
    const trace = [10, ...Buffer.from('trace'), 8, ...some]
    const [noHeaders, one, three] = records.slice(5)
    assert.deepEqual([noHeaders?.headers, noHeaders?.headerBytes.length], [0, 0])
    assert.deepEqual([one?.headers, [...(one?.headerBytes ?? [])]], [1, trace])
    const long = [4, ...Buffer.from('ä'), 140, 1, ...Buffer.alloc(70, 'x')]
    assert.deepEqual([three?.headers, [...(three?.headerBytes ?? [])]], [3, [...trace, 0, 0, ...long]])
  })

  scenario('a record without a timestamp gets the present one', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    const before = Date.now()
    await writer.append(numbered(0, 1))
    const [record] = await readAll(topics, topic)
    const { timestampMs = 0 } = record ?? {}
    assert.ok(timestampMs >= before && timestampMs <= Date.now(), `${timestampMs} is not between ${before} and now`)
  })

  scenario('records of one key go to one partition and keep the order of the calls', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 3)
    await using writer = await topics.openWriter(topic)
    const keys = Array.from({ length: 20 }, (_, n) => `key ${n}`)
    const appends = Array.from({ length: 10 }, (_, n) => keys.flatMap((key) => numbered(n * 5, n * 5 + 5, key)))
    await Promise.all(appends.map((records) => writer.append(records)))
    const records = await readAll(topics, topic)
    const partitions = new Set<number>()
    for (const key of keys) {
      const of = records.filter((record) => record.key === key)
      assert.equal(new Set(of.map(({ partition }) => partition)).size, 1, `${key} lies in one partition`)
      partitions.add(of[0]?.partition ?? -1)
      assert.deepEqual(
        of.map(({ value }) => value),
        Array.from({ length: 50 }, (_, n) => `${key} ${n}`),
      )
    }
    assert.ok(partitions.size > 1, 'keys are spread over partitions')
  })

  scenario('appends that run at once each find their records where they were told', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await using other = await topics.openWriter(topic)
    const appends = Array.from({ length: 200 }, async (_, n) => {
      const records = numbered(n * 10, n * 10 + 1 + (n % 7))
      const [lies, ...rest] = await (n % 2 === 0 ? writer : other).append(records)
      assert.ok(lies !== undefined && rest.length === 0)
      return { lies, values: records.map(({ value }) => String(value)) }
    })
    const done = await Promise.all(appends)
    const records = await readAll(topics, topic)
    for (const { lies, values } of done) {
      assert.deepEqual(
        records.slice(lies.first, lies.end).map(({ value }) => value),
        values,
      )
    }
    assert.equal(
      records.length,
      done.reduce((sum, { values }) => sum + values.length, 0),
    )
  })

  scenario('records of a megabyte come whole, and small ones among them', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    const values = Array.from({ length: 12 }, (_, n) => Buffer.alloc(n % 3 === 0 ? 10 : 1_000_000 - n, 65 + n))
    for (const value of values) await writer.append([{ value }])
    const records = await readAll(topics, topic)
    assert.deepEqual(
      records.map(({ value }) => [value?.length, value?.at(0), value?.at(-1)]),
      values.map((value, n) => [value.length, String.fromCharCode(65 + n), String.fromCharCode(65 + n)]),
    )
  })
}

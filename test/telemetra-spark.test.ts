/** telemetra beside a real Spark, which is given the same messages and judges them by itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { generate } from '../pipelines/telemetra/generate.ts'
import { askSpark, noSpark, type SentMessage, type SparkWindow } from './telemetra/spark.ts'
import { openWorld, type Row, type Value } from './telemetra/world.ts'

const topics = ['telemetra.events.chat', 'telemetra.events.viewer'] as const

interface Part {
  count: number
  durationSeconds: number
  latePercent: number
}

// What is late depends on what was read before: late messages come with the second part, some too late for every one of
// their windows and some for the first ones only.
const parts: Part[] = [
  { count: 50_000, durationSeconds: 3_000, latePercent: 0 },
  ...Array.from({ length: 4 }, () => ({ count: 2_500, durationSeconds: 150, latePercent: 10 })),
]

test('every closed window has what Spark counts in it, of the messages that Spark takes for good and in time', {
  skip: noSpark,
  timeout: 5 * 60_000,
}, async () => {
  await using world = await openWorld()
  const sent: SentMessage[] = []
  const ends = new Map<string, number>()
  let startMs = Date.parse('2026-01-01T00:00:00Z')
  for (const [part, { count, durationSeconds, latePercent }] of parts.entries()) {
    const made: SentMessage[] = []
    await generate(
      sampleRequest({
        seed: 7 + part,
        count,
        durationSeconds,
        startTime: new Date(startMs),
        badPercent: 2,
        duplicatePercent: 1,
        options: { 'late-percent': String(latePercent) },
        topic: (topic) => ({
          async append(messages) {
            for (const { value } of messages) {
              const offset = ends.get(topic) ?? 0
              ends.set(topic, offset + 1)
              made.push({ topic, place: `${topic}/0/${offset}`, part, value: wordier(value, offset) })
            }
          },
        }),
      }),
    )
    for (const name of topics)
      await world.append(
        name,
        made.filter(({ topic }) => topic === name).map(({ value }) => value),
      )
    // a bounded run judges all that it reads by the watermark that it finds
    await world.run({ final: part === parts.length - 1, settings: { BATCH_MAX_ROWS: '20000' } })
    sent.push(...made)
    startMs += durationSeconds * 1000
  }
  const spark = await askSpark(sent)

  const places = async (table: string): Promise<unknown[]> =>
    (await world.sql(`select place from ${table} order by place collate "C"`)).map(({ place }) => place)
  assert.deepEqual(await places('millrace.dead_letters'), spark.bad.sort(), 'the messages that are none')
  assert.deepEqual(await places('millrace.late_rows'), spark.late.sort(), 'those that come too late')
  const [books] = await world.sql(
    'select sum(rows_in)::int as all, sum(written)::int as written, sum(late)::int as late from millrace.batches',
  )
  assert.deepEqual(books, { all: sent.length, written: spark.good - spark.late.length, late: spark.late.length })

  const rows = await world.sql('select * from chat_summary_minute where final')
  const windows = new Map(rows.map((row) => [keyOf(row['stream_id'], Number(row['window_start'])), row]))
  assert.deepEqual(
    [...windows.keys()].sort(),
    spark.windows.map(({ stream_id, window_start }) => keyOf(stream_id, window_start)).sort(),
    'the windows',
  )
  for (const window of spark.windows) same(windows.get(keyOf(window.stream_id, window.window_start)) ?? {}, window)

  assert.ok(spark.windows.length > 2_500, `${spark.windows.length} windows`)
  assert.ok(spark.bad.length > 1_000 && spark.late.length > 300, `${spark.bad.length} bad, ${spark.late.length} late`)
})

// Sample messages have good words or bad ones; some are made to have both, and so a sentiment between.
function wordier(value: Value, offset: number): Value {
  if (typeof value !== 'string' || offset % 3 !== 0) return value
  const words = [' bad', ' GOOD, good', " lag; can't win", ''][offset % 4] ?? ''
  return value.replace(/"message":"[^"]*/, (said) => `${said}${words}`)
}

function keyOf(stream: unknown, startMs: number): string {
  return `${stream} ${new Date(startMs).toISOString()}`
}

function same(row: Row, window: SparkWindow): void {
  const { chat_count = 0, unique_chatters = 0, positive_count = 0, negative_count = 0 } = window
  const { emotes = 0, emote_counts = {}, avg_sentiment, avg_viewers, peak_viewers = null } = window
  const at = `${keyOf(row['stream_id'], Number(row['window_start']))}: ${JSON.stringify(row)}`
  // as: what the table's column of JSON has
  const counts = row['emote_counts'] as Record<string, number>
  assert.deepEqual(
    {
      chat_count: Number(row['chat_count']),
      unique_chatters: Number(row['unique_chatters']),
      positive_count: Number(row['positive_count']),
      negative_count: Number(row['negative_count']),
      emotes: Object.values(counts).reduce((sum, uses) => sum + uses, 0),
      emote_counts: counts,
      peak_viewers: row['peak_viewers'] === null ? null : Number(row['peak_viewers']),
    },
    { chat_count, unique_chatters, positive_count, negative_count, emotes, emote_counts, peak_viewers },
    at,
  )
  near(row['avg_sentiment'], avg_sentiment, `sentiment at ${at}`)
  near(row['avg_viewers'], avg_viewers, `viewers at ${at}`)
}

function near(own: unknown, value: number | undefined, at: string): void {
  if (value === undefined) assert.equal(own, null, at)
  else assert.ok(own !== null && Math.abs(Number(own) - value) <= 1.000_001e-9, `${own} is not ${value}: ${at}`)
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GenerateRequest, SampleMessage } from 'millrace'
import { generate } from './generate.ts'

type Event = Record<string, unknown>

interface Made {
  events: Event[]
  ids: string[]
  summary: Awaited<ReturnType<typeof generate>>
  asked: string[]
  inserted: Event[]
}

async function made(change: Partial<GenerateRequest>, bulk = false): Promise<Made> {
  const messages: SampleMessage[] = []
  const asked: string[] = []
  const inserted: Event[] = []
  const summary = await generate({
    settings: {},
    eventsPerSecond: 1_000_000,
    durationSeconds: undefined,
    count: undefined,
    seed: 7,
    startTime: new Date('2026-01-01T00:00:00Z'),
    live: false,
    badPercent: 0,
    duplicatePercent: 0,
    to: undefined,
    options: { jobs: '10' },
    topic: () => ({ append: async (more) => void messages.push(...more) }),
    signal: new AbortController().signal,
    onFile: () => {},
    ...(bulk
      ? {
          bulk: {
            async sql(_, [json] = []) {
              inserted.push(...JSON.parse(String(json)))
              return []
            },
            enqueue: async (task) => void asked.push(task),
          },
        }
      : {}),
    ...change,
  })
  const events = messages.map(({ value }): Event => JSON.parse(String(value)))
  const ids = events.map(({ millrace_id }) => String(millrace_id))
  return { events, ids, summary, asked, inserted }
}

const jobsOf = (events: Event[]) => Map.groupBy(events, ({ job_id }) => job_id)
const named = (events: Event[], name: string) => events.filter(({ event }) => event === `SparkListener${name}`)

function areCoherent(events: Event[]): void {
  for (const [job, own] of jobsOf(events)) {
    assert.equal(own[0]?.['event'], 'SparkListenerJobStart', `job ${job}`)
    assert.deepEqual([named(own, 'JobStart').length, named(own, 'JobEnd').length], [1, 1], `job ${job}`)
    const tasks = named(own, 'TaskEnd').map(({ task_id }) => task_id)
    assert.ok(tasks.length >= 1 && tasks.length <= 10, `job ${job} has ${tasks.length} tasks`)
    assert.equal(new Set(tasks).size, tasks.length)
    assert.ok(own.every(({ timestamp }) => !Number.isNaN(Date.parse(String(timestamp)))))
  }
}

test('ten coherent jobs of one to ten tasks, some of which fail', async () => {
  const { events, ids, summary } = await made({})
  assert.equal(jobsOf(events).size, 10)
  areCoherent(events)
  assert.equal(summary.events, events.length)
  assert.equal(new Set(ids).size, ids.length)
  const many = (await made({ options: { jobs: '300' } })).events
  areCoherent(many)
  const tasks = named(many, 'TaskEnd')
  const failed = tasks.filter(({ successful }) => successful === false).length / tasks.length
  assert.ok(failed > 0.05 && failed < 0.15, `${failed} of the tasks fail`)
  assert.ok(named(many, 'JobEnd').some(({ job_result }) => job_result === 'JobFailed'))
})

test('a message is the event, and beside it the whole of it again', async () => {
  const { events } = await made({})
  for (const { millrace_id, millrace_log, ...event } of events) {
    assert.deepEqual(millrace_log, event)
    assert.match(String(millrace_id), /^[0-9a-f-]{36}$/)
  }
})

test('the same seed makes the same jobs, and another seed others', async () => {
  const logs = async (seed: number) => (await made({ seed })).events.map(({ millrace_log }) => millrace_log)
  assert.deepEqual(await logs(7), await logs(7))
  assert.notDeepEqual((await logs(8))[0], (await logs(7))[0])
})

test('as many events as are asked for, some of them wrong or repeated', async () => {
  const { events, summary } = await made({
    count: 2000,
    eventsPerSecond: undefined,
    badPercent: 10,
    duplicatePercent: 10,
  })
  assert.deepEqual([events.length, summary.events], [2000, 2000])
  assert.ok(summary.bad > 100 && summary.bad < 300 && summary.duplicates > 100 && summary.duplicates < 300)
})

test('in bulk it goes into the table alone, and the reconciliation is asked for', async () => {
  const { events, inserted, asked } = await made({ badPercent: 50 }, true)
  assert.deepEqual([events.length, asked], [0, ['schedule_pending_analytics']])
  assert.equal(jobsOf(inserted).size, 10)
  areCoherent(inserted)
})

/** Windows over a topic of a real broker, while workers and the broker are killed: each message is counted once. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin } from '@platformatic/kafka'
import { count, countDistinct, integer, pipeline, sum, table, text, timestamp, topic } from '../src/index.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import type { TopicRecord, TopicWriter } from '../src/sources/topic/topic.ts'
import { eventually, type Millrace } from './crash/process.ts'
import { openWorld, type World } from './crash/world.ts'
import { randomFrom } from './histories.ts'
import { noKafka, startBroker } from './kafka-broker.ts'
import { testDatabase } from './postgres.ts'

// CI runs this a second time, on another Postgres: there the core is enough.
const again = process.env['MILLRACE_TEST_DATABASE_URL'] !== undefined
const full = Boolean(process.env['MILLRACE_FULL'] || (process.env['CI'] && !again))
const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)

type Kill = 'worker' | 'broker' | 'both'
const whole: Kill[] = ['worker', 'broker', 'worker', 'both', 'worker', 'broker', 'worker']
const { messages, kills } = full
  ? { messages: 200_000, kills: whole }
  : { messages: 40_000, kills: ['worker', 'both'] satisfies Kill[] }
const workersKilled = kills.filter((kill) => kill !== 'broker').length
const brokersKilled = kills.filter((kill) => kill !== 'worker').length

const talk = 'talk'
const partitions = 4
const sizeMs = 60_000
const slideMs = 10_000
/** So many messages may be appended and not yet committed, so that writing, too, meets the broker's end. */
const aheadMost = 20_000
/** After so many comes one that is none. */
const poisonEvery = 500

interface Message {
  at: number
  who: string
  user: number
  amount: number
}

test(`${messages} messages are counted once though a worker is killed ${workersKilled} times and the broker ${brokersKilled} times${full ? '' : ' (MILLRACE_FULL=1: 200,000, 5 and 3)'}`, {
  skip: noKafka,
  timeout: 10 * 60_000,
}, async () => {
  const random = randomFrom(seed)
  await using broker = await startBroker()
  await makeTopic(broker.address())
  await using database = await testDatabase()
  await using world = await openWorld(database)
  const module = await talkModule(world)
  const env = { KAFKA_BOOTSTRAP_SERVERS: broker.address(), BATCH_MAX_ROWS: '2000' }
  await using topics = await openKafka(broker.settings())
  await using writer = await topics.openWriter(talk)

  const sent = Array.from({ length: messages }, (_, i) => messageOf(i, random))
  let committed = 0
  // where this test has failed, nobody waits for the worker
  using over = new DisposableStack()
  over.defer(() => {
    committed = Number.POSITIVE_INFINITY
  })
  const appending = append(writer, sent, () => committed)
  // it is waited for at the end, and must not be called unhandled until then
  appending.catch(() => {})
  const start = (): Millrace => world.start(['work', module], env)
  let worker = start()
  const reaches = async (rows: number): Promise<void> => {
    await eventually(
      async () => {
        if (worker.end !== undefined) throw new Error(`seed ${seed}: ${worker.story()}`)
        committed = (await booksOf(world))?.rows_in ?? 0
        return committed >= rows
      },
      { what: () => `seed ${seed}: ${committed} of ${rows} rows are in: ${worker.story()}`, withinMs: 120_000 },
    )
  }
  for (const [i, kill] of kills.entries()) {
    // so far apart that each worker commits something
    await reaches((messages * (i + 0.2 + 0.6 * random())) / kills.length)
    // wherever it is by then
    await sleep(random() * 200)
    let restarting: Promise<void> | undefined
    if (kill !== 'worker') {
      await broker.kill()
      restarting = broker.start()
    }
    if (kill !== 'broker') {
      worker.signal('SIGKILL')
      assert.deepEqual(await worker.ended(), { code: null, signal: 'SIGKILL' }, worker.story())
      // perhaps while the broker is still gone
      worker = start()
    }
    await restarting
  }
  const [poison] = await Promise.all([appending, reaches(messages + messages / poisonEvery)])
  assert.deepEqual(await worker.stop(), { code: 0, signal: null }, worker.story())
  await using last = world.start(['run', module, '--final', '--json'], env)
  assert.deepEqual(await last.ended(60_000), { code: 0, signal: null }, last.story())
  await judge(world, sent, poison)
})

function talkPlan() {
  return pipeline('kills')
    .from(
      topic(talk, {
        columns: {
          at: timestamp().orEpochMilliseconds(),
          who: text().notEmpty(),
          user: integer(),
          amount: integer(),
        },
        // a partition may be unread for long where the broker is gone
        eventTime: { column: 'at', outOfOrder: '10 seconds', idleAfter: '10 minutes' },
      }),
    )
    .window({ size: sizeMs, slide: slideMs, by: 'who', emit: { update: '50 ms' } }, (row) => ({
      n: count(),
      users: countDistinct(row.user),
      total: sum(row.amount),
    }))
    .into(table('talk_windows', { key: ['who', 'window_start'] })).plan
}

async function talkModule(world: World): Promise<string> {
  const path = join(dirname(world.data), 'kills.mjs')
  await writeFile(path, `export default ${JSON.stringify({ plan: talkPlan() })}`)
  return path
}

async function makeTopic(address: string): Promise<void> {
  const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [address] })
  try {
    await admin.createTopics({ topics: [talk], partitions, replicas: 1 })
    await eventually(
      async () =>
        (await admin.metadata({ topics: [talk], forceUpdate: true })).topics.get(talk)?.partitionsCount === partitions,
      { what: () => `${talk} has ${partitions} partitions` },
    )
  } finally {
    await admin.close()
  }
}

// An hour of talk, out of order by less than the ten seconds that are allowed.
function messageOf(i: number, random: () => number): Message {
  return {
    at: Date.UTC(2026, 0, 1) + Math.floor((i * 3_600_000) / messages + random() * 4_000),
    who: `w${Math.floor(random() * 20)}`,
    user: Math.floor(random() * 2_000),
    amount: Math.floor(random() * 100),
  }
}

const bad: TopicRecord[] = [
  { value: Buffer.from('{"at":1767225600000,"who":"w1"') },
  { value: null },
  { value: Buffer.from('{"at":1767225600000,"who":"w1","user":"x","amount":1}') },
]

/** Appends all of them, and others that are no messages among them; answers where those are. */
async function append(writer: TopicWriter, sent: readonly Message[], committed: () => number): Promise<string[]> {
  const poison: string[] = []
  for (let i = 0; i < sent.length; i += poisonEvery) {
    await eventually(async () => i - committed() < aheadMost, {
      what: () => `the worker keeps up with ${i} messages`,
      withinMs: 180_000,
    })
    await writer.append(
      sent.slice(i, i + poisonEvery).map((message, n) => ({
        key: Buffer.from(String(i + n)),
        value: Buffer.from(JSON.stringify(message)),
      })),
    )
    const record = bad[(i / poisonEvery) % bad.length]
    if (record === undefined) continue
    for (const { partition, first } of await writer.append([record])) poison.push(`${talk}/${partition}/${first}`)
  }
  return poison
}

interface Books {
  rows_in: number
  written: number
  late: number
  dead: number
  epochs: number
}

async function booksOf(world: World): Promise<Books | undefined> {
  const [books] = await world
    .sql<Books>(`
      select coalesce(sum(rows_in), 0)::int as rows_in, coalesce(sum(written), 0)::int as written,
             coalesce(sum(late), 0)::int as late, coalesce(sum(dead), 0)::int as dead, count(distinct epoch)::int as epochs
      from   millrace.batches`)
    // the schema may not be there yet
    .catch(() => [])
  return books
}

async function judge(world: World, sent: readonly Message[], poison: readonly string[]): Promise<void> {
  const { epochs, ...books } = (await booksOf(world)) ?? { epochs: 0 }
  const all = sent.length + poison.length
  assert.deepEqual(books, { rows_in: all, written: sent.length, late: 0, dead: poison.length }, `seed ${seed}: books`)
  assert.ok(epochs > workersKilled, `seed ${seed}: each of the workers has committed, under ${epochs} epochs`)
  const letters = await world.sql<{ place: string }>('select place from millrace.dead_letters')
  assert.deepEqual(letters.map(({ place }) => place).sort(), poison.toSorted(), `seed ${seed}: dead letters`)

  const rows = await world.sql<{ row: string }>(`
    select concat_ws('|', who, (extract(epoch from window_start) * 1000)::bigint, n, users, total) as row
    from   talk_windows
    where  final`)
  assert.deepEqual(rows.map(({ row }) => row).sort(), windowsOf(sent), `seed ${seed}: windows`)
  const [sums] = await world.sql('select sum(n)::int as n, sum(total)::int as total from talk_windows')
  const perMessage = sizeMs / slideMs
  assert.deepEqual(sums, {
    n: perMessage * sent.length,
    total: perMessage * sent.reduce((total, { amount }) => total + amount, 0),
  })
}

function windowsOf(sent: readonly Message[]): string[] {
  const windows = new Map<string, { n: number; users: Set<number>; total: number }>()
  for (const { at, who, user, amount } of sent) {
    for (let start = Math.floor(at / slideMs) * slideMs; start > at - sizeMs; start -= slideMs) {
      const key = `${who}|${start}`
      const window = windows.get(key) ?? { n: 0, users: new Set(), total: 0 }
      windows.set(key, window)
      window.n++
      window.users.add(user)
      window.total += amount
    }
  }
  return [...windows].map(([key, { n, users, total }]) => `${key}|${n}|${users.size}|${total}`).sort()
}

/** Publishing where more than one process is about: a topic that another one writes, and a pipeline that is borrowed. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { files, functions, integer, pipeline, publish, recordHeaders, table, text, topic } from '../src/index.ts'
import type { Plan } from '../src/plan/plan.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { eventually } from './crash/process.ts'
import {
  firstOrders,
  judgeMessages,
  madeTopic,
  messagesIn,
  ordersOf,
  publishingModule,
  secondOrders,
} from './crash/published.ts'
import { openWorld, type World } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'
import { startChild } from './topic-log/child.ts'

describe('a local topic', { concurrency: 2 }, () => {
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  test('that another process writes holds messages up, not commits, until the outbox is full; nothing is lost', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    const module = await publishingModule(world)
    await using holder = startChild('hold.ts', [join(world.data, 'topics'), madeTopic])
    assert.equal(await holder.line(), 'holds')
    await world.drop([...firstOrders, ...secondOrders])
    await using server = world.start(['start', module], { PORT: '0', OUTBOX_MAX_ROWS: '20' })
    const { why } = await server.says('publishing is held up')
    assert.match(String(why), new RegExp(`TOPIC_LOCKED: ${hostname()}:${holder.pid} writes this topic`))
    let seen: Record<string, unknown> = {}
    await eventually(
      async () => {
        seen = await world.status()
        const waits = Number(seen['outbox_rows'])
        // the last batch before it stood still may just be being committed
        const isTold = Object(seen['publisher']).waiting === waits
        return stateOf(seen).is === 'retrying' && waits >= 20 && isTold
      },
      { what: () => JSON.stringify(seen) },
    )
    const waiting = Number(seen['outbox_rows'])
    // a batch has five rows at most, and when it is full one is being committed, and one is staged
    assert.ok(waiting < 30, `${waiting} wait`)
    assert.match(stateOf(seen).why ?? '', /the outbox is full: \d+ messages wait: TOPIC_LOCKED/)
    assert.partialDeepStrictEqual(seen['publisher'], { is: 'held up', waiting })
    const metrics = await (await fetch(`${await addressOf(world)}/metrics`)).text()
    assert.match(metrics, new RegExp(`millrace_outbox_rows\\{pipeline="publishing"\\} ${waiting}`))
    await using status = world.start(['status'])
    await status.ended()
    assert.match(status.out, new RegExp(`outbox +${waiting} messages to be published`))
    const stood = await rowsOf(world)
    assert.equal(stood.length, waiting)

    await holder.kill()
    await world.drained([...firstOrders, ...secondOrders], { worker: server, withinMs: 60_000 })
    await server.says('publishing again')
    const { outbox_rows, publisher } = await world.status()
    assert.deepEqual([outbox_rows, publisher], [0, { is: 'working', waiting: 0 }])
    await judge(world, 1)
  })

  test('goes with the lease: a bounded run beside a worker publishes, and the worker goes on', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    const module = await publishingModule(world)
    await world.drop(firstOrders)
    await using worker = world.start(['work', module])
    await world.drained(firstOrders, { worker })
    await world.lay(secondOrders)
    await using run = world.start(['run', module, '--input', world.inputs])
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    await worker.says('running', { from: worker.log.findLastIndex(({ event }) => event === 'lending the lease') })
    const more = [{ ...(firstOrders[0] ?? { header: [], rows: [] }), name: 'again.csv' }]
    await world.drop(more)
    await world.drained(more, { worker })
    assert.deepEqual(await worker.stop(), { code: 0, signal: null })
    assert.deepEqual(await judge(world), { messages: (await rowsOf(world)).length, repeats: 0 })
  })
})

describe('pipelines that read what others publish', () => {
  test('go on side by side in one process, and what is dropped arrives in the last table', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    const modules: string[] = []
    for (const [name, plan] of Object.entries(chain(world.raw))) {
      const path = join(dirname(world.data), `${name}.mjs`)
      await writeFile(path, `export default ${JSON.stringify({ plan })}`)
      modules.push(path)
    }
    await using server = world.start(['start', ...modules], { PORT: '0' })
    const [first, second] = [ordersOf(0, 3), ordersOf(3, 6)]
    for (const { files } of [first, second]) {
      await world.drop(files)
      await world.drained(files, { worker: server })
      const wanted = (files === first.files ? first.files : [...first.files, ...second.files])
        .flatMap(({ rows }) => rows)
        .filter(([, n]) => Number(n) > 10)
        .map(([who, n]) => `${who} ${n}`)
      let seen: string[] = []
      await eventually(
        async () => {
          const rows = await world
            .sql<{ who: string; n: number }>('select who, n from chained order by n')
            .catch((): { who: string; n: number }[] => [])
          seen = rows.map(({ who, n }) => `${who} ${n}`)
          return seen.length >= wanted.length
        },
        { what: () => `${wanted.length} rows arrive, ${seen.length} are there: ${server.story()}` },
      )
      assert.deepEqual(seen, wanted)
    }
    const ids = await world.sql<{ id: string }>('select id from chained')
    for (const { id } of ids) assert.match(id, /^second\/\d+\/publish\/\d+$/)
    assert.deepEqual(await server.stop(), { code: 0, signal: null })
  })
})

// as: what the API says of a pipeline
function stateOf(seen: Record<string, unknown>): { is?: string; why?: string } {
  return (seen['state'] ?? {}) as { is?: string; why?: string }
}

async function addressOf(world: World): Promise<string> {
  // as: what a server writes into its data directory
  const { port } = JSON.parse(await readFile(join(world.data, 'server.json'), 'utf8')) as { port: number }
  return `http://127.0.0.1:${port}`
}

/** From files to a topic, from there to another, and from there into a table, each by a pipeline of its own. */
function chain(raw: string): Record<string, Plan> {
  const columns = { who: text(), n: integer() }
  return {
    first: pipeline('first')
      .from(files(raw, { format: 'csv', columns }))
      .into(publish('chain.a', { key: 'who' })).plan,
    second: pipeline('second')
      .from(topic('chain.a', { columns }))
      .filter((row) => row.n.moreThan(10))
      .into(publish('chain.b', { key: 'who' })).plan,
    third: pipeline('third')
      .from(topic('chain.b', { columns: { ...columns, headers: recordHeaders() } }))
      .select((row) => ({ id: functions.jsonText(row.headers, '$."millrace-id"'), who: row.who, n: row.n }))
      .into(table('chained', { oncePer: 'id' })).plan,
  }
}

async function rowsOf(world: World): Promise<{ who: string; n: number; batch: number }[]> {
  return await world.sql('select who, n, batch from made')
}

/** `before`: messages that somebody else has written. */
async function judge(world: World, before = 0) {
  const messages = await messagesIn(openLocalTopics(join(world.data, 'topics')))
  return judgeMessages(messages.slice(before), await rowsOf(world))
}

/** What a run on Spark survives: cut connections, a server that dies in it, and our own death before, in and after the merge. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { createServer, connect as dial, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { shopEvents } from '../pipelines/shop-events/pipeline.ts'
import type { MillraceError } from '../src/errors.ts'
import { SparkSession } from '../src/spark/connect.ts'
import { sessionSettings } from '../src/spark/settings.ts'
import { eventually } from './crash/process.ts'
import { testDatabase } from './postgres.ts'
import { noSpark, TestSpark } from './spark/server.ts'
import { openSparkWorld } from './spark/world.ts'

const server = noSpark === false ? await TestSpark.start() : undefined
after(() => server?.[Symbol.asyncDispose]())
const onSpark = { skip: noSpark, timeout: 15 * 60_000 }
const remote = server?.remote ?? ''

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp'
const lines = Array.from({ length: 40 }, (_, i) => `e${i},u,view,p,${i},2026-01-01T00:00:00Z`)
const csv = `${[header, ...lines, 'bad,u,view,p,-1,2026-01-01T00:00:00Z'].join('\n')}\n`

test('a connection that is cut at any moment costs no row and doubles none', onSpark, async () => {
  for (const answers of [0, 1, 2, 4, 8]) {
    await using proxy = await cuttingProxy(new URL(remote.replace('sc:', 'http:')))
    await using session = await SparkSession.open({ remote: proxy.remote })
    await session.configure(sessionSettings)
    proxy.cutAfter(answers)
    // more than one answer, and long enough to be cut within
    const rows = await session.rows<{ id: bigint }>('select id from range(0, 60000, 1, 6) order by id')
    assert.equal(rows.length, 60_000, `cut after ${answers}`)
    assert.deepEqual(
      rows.filter(({ id }, i) => Number(id) !== i),
      [],
    )
    assert.equal(proxy.cuts, 1, `it was cut after ${answers}`)
  }
})

test('a connection that says nothing more, and is not closed, is given up for another', onSpark, async () => {
  await using proxy = await cuttingProxy(new URL(remote.replace('sc:', 'http:')))
  await using session = await SparkSession.open({ remote: proxy.remote, silence: { afterMs: 1000, waitMs: 1000 } })
  await session.configure(sessionSettings)
  proxy.mute()
  const rows = await session.rows<{ id: bigint }>('select id from range(1000) order by id')
  assert.equal(rows.length, 1000)
})

test('a run whose connection is cut in each of its steps lands once', onSpark, async () => {
  await using proxy = await cuttingProxy(new URL(remote.replace('sc:', 'http:')))
  await using world = await openSparkWorld(shopEvents, proxy.remote)
  const path = await world.file('events.csv', csv)
  const steps: string[] = []
  const outcome = await world.onSpark([path], {
    onProgress: (step, progress) => {
      if (progress !== undefined) return
      steps.push(step)
      proxy.cutAfter(2)
    },
  })
  assert.deepEqual(outcome.books, { rowsIn: 41, written: 40, filtered: 0, duplicates: 0, late: 0, dead: 1 })
  assert.ok(proxy.cuts >= 3 && proxy.cuts <= steps.length, `${proxy.cuts} cuts in ${steps.join(', ')}`)
  assert.ok(
    steps.some((step) => step.startsWith('writing')),
    steps.join(', '),
  )
  assert.deepEqual(await world.sql('select count(*)::int as n from user_events'), [{ n: 40 }])
  assert.deepEqual(await world.sql('select count(*)::int as n from millrace.dead_letters'), [{ n: 1 }])
})

test(
  'what Spark refuses is told with its class, its SQLSTATE and the part of the SQL it is about',
  onSpark,
  async () => {
    await using session = await SparkSession.open({ remote })
    await session.configure(sessionSettings)
    await assert.rejects(
      () => session.rows('select cast(id as string) + nothing from range(3)'),
      (error: MillraceError) =>
        error.code === 'SPARK_FAILED' &&
        error.message.includes('[UNRESOLVED_COLUMN') &&
        error.at === 'Spark, SQLSTATE 42703' &&
        error.hint === 'in: nothing' &&
        !error.message.includes('\tat '),
    )
    await assert.rejects(() => session.rows("select cast('x' as int)"), /CAST_INVALID_INPUT/)
  },
)

test('a server that nobody has started, or that wants a token over a plain line, is told in a sentence', async () => {
  const open = (address: string): Promise<unknown> => SparkSession.open({ remote: address, waitMs: 0 })
  await assert.rejects(() => open('sc://127.0.0.1:1'), /no Spark Connect server answers/)
  await assert.rejects(() => open('http://127.0.0.1:1'), /not the address of a Spark Connect server/)
  await assert.rejects(() => open('sc://spark.example.com/;token=t;use_ssl=false'), /would be sent without TLS/)
})

test('who is told to stop cancels the work on the server', onSpark, async () => {
  const stopping = new AbortController()
  let seen = 0
  await using session = await SparkSession.open({
    remote,
    signal: stopping.signal,
    onProgress: ({ tasks }) => {
      if (tasks > 0 && seen++ === 0) stopping.abort(new Error('told to stop'))
    },
  })
  await assert.rejects(
    () => session.rows('select count(*) from range(0, 1000000000000, 1, 4) where hash(id, id) = 7 and hash(id) = 8'),
    /told to stop/,
  )
  // the two cores of the server are free again
  await using other = await SparkSession.open({ remote })
  assert.equal((await other.rows('select id from range(5)')).length, 5)
})

function runOnSpark(args: string[], cwd: string, env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(
    process.execPath,
    [join(import.meta.dirname, '../src/cli/main.ts'), 'run', '--engine', 'spark', ...args],
    {
      cwd,
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], SPARK_REMOTE: remote, MILLRACE_DATA: join(cwd, 'data'), ...env },
    },
  )
}

interface Killed {
  args: string[]
  file: string
  content: string
  table: string
  rows: number
  read: number
}
const event = (n: number, what: string): string =>
  JSON.stringify({
    timestamp: new Date(Date.UTC(2026, 0, 1, 0, n)).toISOString(),
    user_id: `u${n % 5}`,
    event: what,
    flyer_id: 'f',
    merchant_id: 'm',
  })
const shop: Killed = {
  args: ['shop-events'],
  file: 'events.csv',
  content: csv,
  table: 'user_events',
  rows: lines.length,
  read: lines.length + 1,
}
const pairs: Killed = {
  args: ['flyers', '--final'],
  file: 'events.jsonl',
  content: `${[
    ...Array.from({ length: 10 }, (_, n) => event(n, n < 5 ? 'flyer_open' : 'flyer_close')),
    'no event',
  ].join('\n')}\n`,
  table: 'flyer_sessions',
  rows: 5,
  read: 11,
}

for (const [point, when] of [
  ['spark begun', 'before Spark has written anything'],
  ['spark staged', 'before the merge'],
  ['after rows', 'in the merge'],
  ['commit acknowledged', 'behind the merge'],
] as const)
  for (const { args, file, content, table, rows, read } of point === 'spark begun' ? [shop] : [shop, pairs])
    test(`a run of ${args[0]} that is killed ${when} is whole when it is run again`, onSpark, async () => {
      await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-killed-'))
      await using database = await testDatabase()
      const path = join(folder.path, file)
      await writeFile(path, content)
      const run = async (failpoint: string): Promise<{ code: number | null; signal: string | null }> => {
        const child = runOnSpark([...args, '--input', path], folder.path, {
          DATABASE_URL: database.url,
          MILLRACE_FAILPOINT: failpoint,
        })
        // as: what the event of a process that ends has with it
        const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
        return { code, signal }
      }
      const client = await database.connect()
      const count = async (select: string): Promise<number> =>
        (await client.query(`select count(*)::int as n ${select}`)).rows[0].n

      assert.deepEqual(await run(`${point}=kill`), { code: null, signal: 'SIGKILL' })
      assert.equal(await count(`from ${table}`), point === 'commit acknowledged' ? rows : 0)
      for (let again = 0; again < 2; again++) {
        assert.deepEqual(await run(''), { code: 0, signal: null })
        assert.equal(await count(`from ${table}`), rows)
        assert.equal(await count('from millrace.dead_letters'), 1)
        assert.equal(await count(`from millrace.batches where kind = 'spark' and rows_in = ${read}`), 1)
        assert.equal(await count(`from millrace.batches`), 1)
        assert.equal(await count(`from pg_tables where schemaname = 'millrace_staging'`), 0)
      }
    })

test('Ctrl-C ends a run, and nothing of it stays', onSpark, async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-ended-'))
  await using database = await testDatabase()
  const path = join(folder.path, 'events.jsonl')
  const many = Array.from({ length: 100_000 }, (_, n) => event(n, n % 10 < 5 ? 'flyer_open' : 'flyer_close'))
  await writeFile(path, `${many.join('\n')}\n`)
  const child = runOnSpark(['flyers', '--final', '--input', path], folder.path, { DATABASE_URL: database.url })
  const ended = once(child, 'exit')
  const client = await database.connect()
  const staged = async (): Promise<boolean> => {
    const { rows } = await client.query(`select from pg_tables where schemaname = 'millrace_staging'`)
    return rows.length > 0
  }
  await eventually(staged, { what: () => 'it has begun to stage', withinMs: 60_000 })
  child.kill('SIGINT')
  const [code] = await ended
  assert.notEqual(code, 0)
  assert.equal(await staged(), false)
  const { rows } = await client.query(
    'select (select count(*) from flyer_sessions)::int as sessions, (select count(*) from millrace.batches)::int as batches',
  )
  assert.deepEqual(rows, [{ sessions: 0, batches: 0 }])
})

test('a server that is killed in a run and started anew has the run begin anew, once', {
  ...onSpark,
  skip: noSpark || (process.env['MILLRACE_TEST_SPARK_REMOTE'] === undefined ? false : 'the server is not of this test'),
}, async () => {
  assert.ok(server)
  await using world = await openSparkWorld(shopEvents, remote)
  const path = await world.file('events.csv', csv)
  let killed: Promise<void> | undefined
  const outcome = await world.onSpark([path], {
    onProgress: (step) => {
      if (step.startsWith('writing')) killed ??= server.kill().then(() => server.start())
    },
  })
  await killed
  assert.ok(killed, 'it was killed')
  assert.deepEqual(outcome.books, { rowsIn: 41, written: 40, filtered: 0, duplicates: 0, late: 0, dead: 1 })
  const counted = await world.sql('select count(*)::int as n from user_events')
  assert.deepEqual(counted, [{ n: 40 }])
  assert.deepEqual(await world.sql('select batch, kind from millrace.batches'), [{ batch: 1, kind: 'spark' }])
})

test('a file that changes while it is read stops the run, and nothing of it lands', onSpark, async () => {
  await using world = await openSparkWorld(shopEvents, remote)
  const path = await world.file('events.csv', csv)
  let changed: Promise<unknown> | undefined
  const run = world.onSpark([path], {
    onProgress: (step) => {
      if (step.startsWith('writing'))
        changed ??= world.file('events.csv', `${csv}more,u,view,p,1,2026-01-01T00:00:00Z\n`)
    },
  })
  await assert.rejects(run, /FILE_CHANGED|changed while it was read/)
  await changed
  assert.deepEqual(await world.sql('select count(*)::int as n from user_events'), [{ n: 0 }])
})

/** Stands between, and breaks off every connection once, when so many pieces of an answer have passed. */
async function cuttingProxy(to: URL) {
  const open = new Set<Socket>()
  const muted = new Set<Socket>()
  let left = Number.POSITIVE_INFINITY
  let cuts = 0
  const cut = (): void => {
    left = Number.POSITIVE_INFINITY
    cuts++
    for (const socket of open) socket.destroy()
  }
  const proxy = createServer((near) => {
    const far = dial(Number(to.port), to.hostname)
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        open.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.on('data', (chunk) => {
      if (muted.has(near)) return
      if (left <= 0) cut()
      else far.write(chunk)
    })
    far.on('data', (chunk) => {
      if (muted.has(far)) return
      if (left-- <= 0) cut()
      else near.write(chunk)
    })
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const address = proxy.address()
  return {
    remote: `sc://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    cutAfter(answers: number) {
      left = answers
    },
    /** Of the connections there are, none is heard any more; those to come are. */
    mute() {
      for (const socket of open) muted.add(socket)
    },
    get cuts() {
      return cuts
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      proxy.close()
    },
  }
}

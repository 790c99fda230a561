/** Generators that write to topics, as people call them: through the command line. */
import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, readFile, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { eventually, startMillrace } from './crash/process.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

describe('generate, into topics', () => {
  let database: TestDatabase
  let folder: { path: string } & AsyncDisposable

  before(async () => {
    database = await testDatabase()
    folder = await mkdtempDisposable(join(tmpdir(), 'millrace-generate-'))
  })
  after(async () => {
    await database[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const environment = (more: Record<string, string> = {}) => ({
    MILLRACE_DATA: join(folder.path, 'data'),
    DATABASE_URL: database.url,
    ...more,
  })
  const start = (...args: string[]) => startMillrace(args, folder.path, environment())
  const ended = async (code: number, ...args: string[]): Promise<string> => {
    await using running = start(...args)
    assert.deepEqual(await running.ended(), { code, signal: null }, running.story())
    return code === 0 ? running.out : running.story()
  }
  const linesOf = async (path: string): Promise<Record<string, string | null>[]> =>
    (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))

  test('what is generated is in the topics, and telemetra reads all of it', async () => {
    const said = JSON.parse(
      await ended(
        0,
        'generate',
        'telemetra',
        ...'--count 3000 --duration 600 --seed 5 --bad-percent 20 --streams 2 --json'.split(' '),
      ),
    )
    assert.partialDeepStrictEqual(said, { pipeline: 'telemetra', events: 3000, duplicates: 0, late: 0, files: 0 })
    assert.ok(said.bad > 500)
    const run = ['run', 'telemetra', '--from-beginning', '--final', '--json']
    const killed = { MILLRACE_FAILPOINT: 'commit acknowledged=kill' }
    {
      await using running = startMillrace(run, folder.path, environment(killed))
      assert.equal((await running.ended()).signal, 'SIGKILL', running.story())
    }
    const sql = await database.connect()
    const [first] = (await sql.query('select sum(rows_in)::int as rows from millrace.batches')).rows
    assert.ok(first.rows > 0 && first.rows < 3000, `${first.rows} rows were committed before it was killed`)
    // the same command goes on, and is refused once all has been read
    const books = JSON.parse(await ended(0, ...run))
    assert.equal(books.rows_in, 3000 - first.rows)
    const [all] = (
      await sql.query(`select sum(rows_in)::int as rows_in, sum(dead)::int as dead, sum(written)::int as written, sum(late)::int as late
                       from millrace.batches`)
    ).rows
    assert.deepEqual(all, { rows_in: 3000, dead: said.bad, written: 3000 - said.bad, late: 0 })
    assert.match(await ended(2, ...run), /it has read its topics up to batch \d+, and would count again/)
    const metrics = await linesOf(join(folder.path, 'data', 'logs', 'generator_metrics.log'))
    assert.deepEqual(metrics.map(({ topic }) => topic).sort(), ['telemetra.events.chat', 'telemetra.events.viewer'])
  })

  test('dead letters of both topics are mended together, and a dry run says what would become of them', async () => {
    const where = ['--pipeline', 'telemetra', '--code', 'EMPTY']
    const set = ['--set', 'stream_id=mended', '--set', 'user_id=u']
    const sql = await database.connect()
    const [{ letters, sources }] = (
      await sql.query(`select count(*)::int as letters, count(distinct source)::int as sources
                 from millrace.dead_letters where code = 'EMPTY'`)
    ).rows
    assert.ok(letters > 5 && sources === 2, `${letters} letters of ${sources} topics`)
    const dry = await ended(0, 'dead-letters', 'replay', ...where, ...set, '--dry-run')
    assert.match(dry, /into what window keeps, unless it comes too late/)
    assert.ok(dry.includes(`${letters} dead letters: ${letters} would land.`), dry)
    assert.ok((await ended(0, 'dead-letters', 'replay', ...where, ...set)).includes(`: ${letters} late`))
    const { rows } = await sql.query(
      `select count(distinct split_part(place, '/', 1))::int as n from millrace.late_rows`,
    )
    assert.deepEqual(rows, [{ n: 2 }])
  })

  test('--to writes the same messages as lines, each with its topic, its key and its value to the byte', async () => {
    const asked = '--count 500 --seed 9 --bad-percent 30'.split(' ')
    const to = join(folder.path, 'lines', 'chat.jsonl')
    assert.match(await ended(0, 'generate', 'telemetra', ...asked, '--to', to), /^500 events in 1 file, /)
    const lines = await linesOf(to)
    assert.equal(lines.length, 500)
    assert.deepEqual(
      new Set(lines.map(({ topic }) => topic)),
      new Set(['telemetra.events.chat', 'telemetra.events.viewer']),
    )
    assert.ok(lines.some(({ value }) => value === null))
    assert.ok(
      lines.some(({ value_base64 }) => Buffer.from(value_base64 ?? '', 'base64').includes(Buffer.from([0xc3, 0x28]))),
    )
    for (const { key, value } of lines)
      if (value?.startsWith('{"event_id"')) assert.equal(JSON.parse(value).stream_id, key)
    assert.match(await ended(2, 'generate', 'telemetra', '--to', to, '--seed', '1'), /a single file needs an end/)
    assert.equal((await linesOf(to)).length, 500, 'what was there is left as it was')
  })

  test('a topic that another process writes is an error that says what to do', async () => {
    await using topics = openLocalTopics(join(folder.path, 'data', 'topics'))
    await using writer = await topics.openWriter('telemetra.events.viewer')
    assert.ok(writer)
    const said = await ended(1, 'generate', 'telemetra', '--count', '100')
    assert.match(said, /TOPIC_LOCKED: .+ writes this topic \(topic telemetra\.events\.viewer\)/)
    assert.match(said, /end that one first.*--to.*KAFKA_BOOTSTRAP_SERVERS/)
  })

  test('beside a server that writes the topic, the messages go through the server', async () => {
    const own = join(folder.path, 'beside')
    const env = { MILLRACE_DATA: own, DATABASE_URL: database.url, PORT: '0' }
    await using server = startMillrace(['start', 'flyers'], folder.path, env)
    await server.says('running')
    const { port } = JSON.parse(await readFile(join(own, 'server.json'), 'utf8'))
    const posted = await fetch(`http://127.0.0.1:${port}/api/process`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"timestamp":"2026-01-01T00:00:00Z","user_id":"u","event":"flyer_open","flyer_id":"f"}',
    })
    assert.equal(posted.status, 200)
    await using generated = startMillrace(
      ['generate', 'flyers', '--count', '300', '--seed', '2', '--json'],
      folder.path,
      env,
    )
    assert.deepEqual(await generated.ended(), { code: 0, signal: null }, generated.story())
    await eventually(
      async () => {
        const { pipelines } = (await (await fetch(`http://127.0.0.1:${port}/api/pipelines`)).json()) as {
          pipelines: { books: { rows_in: number } }[]
        }
        return pipelines.some(({ books }) => books.rows_in === 301)
      },
      { what: () => 'all of them are counted' },
    )
    await using bad = startMillrace(['generate', 'flyers', '--count', '300', '--bad-percent', '5'], folder.path, env)
    assert.deepEqual(await bad.ended(), { code: 0, signal: null }, bad.story())
  })

  test('options belong to the generator that has them', async () => {
    assert.match(
      await ended(2, 'generate', 'shop-events', '--streams', '3'),
      /generator of shop-events has no such option/,
    )
    assert.match(
      await ended(2, 'generate', 'telemetra', '--streams', 'x'),
      /"x" is not a whole number from 1 to 100000/,
    )
    assert.match(await ended(0, 'generate', '--help'), /--late-percent +of telemetra: /)
  })

  test("a pipeline of one's own has a generator with topics and options, too", async () => {
    await mkdir(join(folder.path, 'node_modules'))
    await symlink(join(import.meta.dirname, '..'), join(folder.path, 'node_modules', 'millrace'))
    await writeFile(
      join(folder.path, 'pings.ts'),
      `import { pipeline, table, text, topic } from 'millrace'
       export default {
         name: 'pings', says: 'Pings.', settings: {},
         plan: () => pipeline('pings').from(topic('pings', { columns: { id: text() } })).into(table('pings', { oncePer: 'id' })).plan,
         generate: {
           says: 'pings',
           options: { prefix: { default: 'p', says: 'what ids begin with' } },
           async run({ count, options, topic }) {
             const messages = Array.from({ length: count }, (_, i) => ({ value: JSON.stringify({ id: options.prefix + i }) }))
             await topic('pings').append(messages)
             return { events: count, bad: 0, duplicates: 0, files: 0 }
           },
         },
       }`,
    )
    assert.match(
      await ended(0, 'generate', './pings.ts', '--count', '3', '--prefix', 'q'),
      /^3 events in the topic pings\n/,
    )
    await ended(0, 'generate', '--prefix', '-1', '--count', '1', './pings.ts')
    assert.partialDeepStrictEqual(JSON.parse(await ended(0, 'run', './pings.ts', '--json')), { rows_in: 4, written: 4 })
    const client = await database.connect()
    const { rows } = await client.query('select id from pings order by id')
    assert.deepEqual(
      rows.map(({ id }) => id),
      ['-10', 'q0', 'q1', 'q2'],
    )
    assert.match(await ended(2, 'generate', './pings.ts', '--count', '3', '--streams', '2'), /has no such option/)
  })
})

/** What spark-logs promises, line by line: what is posted, what is stored, what is computed, and what is answered. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { randomFrom } from '../pipelines/sample-random.ts'
import { sparkLogs } from '../pipelines/spark-logs/pipeline.ts'
import { eventually } from './crash/process.ts'
import { type Answer, type IngestWorld, ingestWorld, post as postTo } from './ingest/world.ts'
import { noRedis, startRedis } from './redis.ts'

type Event = Record<string, unknown>

const at = (second: number) => new Date(Date.parse('2024-03-30T10:12:45Z') + second * 1000).toISOString()
const start = (job: number, second = 0, more: Event = {}): Event => ({
  event: 'SparkListenerJobStart',
  job_id: job,
  timestamp: at(second),
  user: 'data_engineer_1',
  ...more,
})
const task = (job: number, id: string, successful = true, second = 10): Event => ({
  event: 'SparkListenerTaskEnd',
  job_id: job,
  timestamp: at(second),
  task_id: id,
  duration_ms: 4500,
  successful,
})
const end = (job: number, second = 90, more: Event = {}): Event => ({
  event: 'SparkListenerJobEnd',
  job_id: job,
  timestamp: at(second),
  completion_time: at(second),
  job_result: 'JobSucceeded',
  ...more,
})

const post = (world: IngestWorld, body: object | Buffer | string, query = '', headers?: Record<string, string>) =>
  postTo(`${world.url}/logs/ingest${query}`, body, headers)

async function get(world: IngestWorld, path: string): Promise<Answer> {
  const answer = await fetch(`${world.url}${path}`)
  return { status: answer.status, body: await answer.json(), headers: answer.headers }
}

async function computed(world: IngestWorld, job: number): Promise<Answer['body']> {
  return await eventually(
    async () => {
      const { status, body } = await get(world, `/analytics/jobs/${job}`)
      return status === 200 ? body : undefined
    },
    { what: () => `job ${job} is computed` },
  )
}

async function rows(world: IngestWorld, sql: string, values: unknown[] = []): Promise<Event[]> {
  assert.ok(world.board.store !== undefined)
  return await world.board.store.select(sql, values)
}

const statuses = ({ body }: Answer) => body.results.map(({ status }: { status: string }) => status)

// A job that was computed before, and something of it has come since.
async function settled(world: IngestWorld): Promise<void> {
  const pendingSql = `select from raw_logs l where status = 'pending'
    and exists (select from raw_logs where job_id = l.job_id and event = 'SparkListenerJobStart')
    and exists (select from raw_logs where job_id = l.job_id and event = 'SparkListenerJobEnd')`
  await eventually(async () => (await rows(world, pendingSql)).length === 0, { what: () => 'nothing is pending' })
}

async function sparkWorld(options: { env?: Record<string, string> } = {}): Promise<IngestWorld> {
  return await ingestWorld({ system: sparkLogs, database: true, ...options })
}

describe('POST /logs/ingest', { concurrency: 1 }, () => {
  test('answers 201 when an event is in raw_logs, with its whole payload', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    const first = await post(world, start(101, 0, { extra: { deep: [1, 2.5] } }))
    assert.equal(first.status, 201, JSON.stringify(first.body))
    assert.deepEqual(first.body, {
      stored: 1,
      duplicates: 0,
      conflicting: 0,
      rejected: 0,
      results: [{ index: 0, status: 'stored' }],
    })
    const [row] = await rows(world, 'select * from raw_logs')
    assert.match(String(row?.['id']), /^[0-9a-f-]{36}$/)
    assert.ok(row?.['insertion_time'] instanceof Date)
    assert.deepEqual(
      { ...row, id: '', insertion_time: '' },
      {
        id: '',
        event: 'SparkListenerJobStart',
        job_id: 101,
        user: 'data_engineer_1',
        timestamp: new Date(at(0)),
        task_id: null,
        log: { ...start(101), extra: { deep: [1, 2.5] } },
        insertion_time: '',
        status: 'pending',
      },
    )
  })

  test('answers 200 to what is there already: the first payload stays, and another one is conflicting', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, [start(1), task(1, 't')])
    const again = await post(world, start(1))
    assert.deepEqual([again.status, again.body.duplicates, again.body.conflicting], [200, 1, 0])
    const other = await post(world, [start(1, 0, { user: 'someone' }), task(1, 't')])
    assert.deepEqual([other.status, statuses(other)], [200, ['conflicting', 'duplicate']])
    assert.deepEqual(await rows(world, `select "user" from raw_logs where task_id is null`), [
      { user: 'data_engineer_1' },
    ])
    // of one key twice in a body, the first is stored
    const twice = await post(world, [end(1), end(1, 91)])
    assert.deepEqual([twice.status, statuses(twice)], [201, ['stored', 'conflicting']])
  })

  test('takes an object, an array and NDJSON, packed with gzip or zstd', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    const packed = (encoding: string) => ({ 'content-encoding': encoding })
    assert.equal((await post(world, [start(1), end(1)])).body.stored, 2)
    const lines = `${JSON.stringify(start(2))}\n\n${JSON.stringify(end(2))}\n`
    assert.equal((await post(world, lines, '', { 'content-type': 'application/x-ndjson' })).body.stored, 2)
    assert.equal((await post(world, gzipSync(JSON.stringify(start(3), null, 2)), '', packed('gzip'))).body.stored, 1)
    assert.equal((await post(world, zstdCompressSync(JSON.stringify([end(3)])), '', packed('zstd'))).body.stored, 1)
    assert.equal((await post(world, Buffer.from('no gzip'), '', packed('gzip'))).status, 400)
  })

  test('with wait=0 answers 202 once it is durable, and it is stored when there is a worker', async () => {
    await using world = await sparkWorld()
    const answer = await post(world, [start(7), end(7)], '?wait=0')
    assert.deepEqual([answer.status, answer.body.accepted], [202, 2])
    assert.deepEqual(await rows(world, 'select from raw_logs'), [])
    await using _worker = world.work()
    assert.equal((await computed(world, 7)).duration_seconds, 90)
  })

  const { job_id: _, ...noJob } = start(1)
  const { timestamp: __, ...noTime } = start(1)
  const { task_id: ___, ...noTask } = task(1, '')
  const refused: [sentence: string, event: unknown, code: string, column: string | undefined][] = [
    ['an event of another name', { ...start(1), event: 'SparkListenerLogStart' }, 'NOT_ONE_OF', 'event'],
    ['no job_id', noJob, 'MISSING', 'job_id'],
    ['a job_id that is no number', { ...start(1), job_id: 'one' }, 'NOT_AN_INTEGER', 'job_id'],
    ['a job_id with a fraction', { ...start(1), job_id: 1.5 }, 'NOT_AN_INTEGER', 'job_id'],
    ['a job_id that no int holds', { ...start(1), job_id: 2_147_483_648 }, 'ABOVE_MAXIMUM', 'job_id'],
    ['no timestamp', noTime, 'MISSING', 'timestamp'],
    ['a timestamp that is none', { ...start(1), timestamp: 'yesterday' }, 'NOT_A_TIMESTAMP', 'timestamp'],
    ['the end of a task without task_id', noTask, 'NO_TASK', 'task_id'],
    ['the end of a task with an empty task_id', task(1, ''), 'NO_TASK', 'task_id'],
    ['no object', 17, 'NOT_AN_OBJECT', undefined],
  ]
  test('refuses with 422 what is wrong, says why, and stores nothing of it', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    for (const [sentence, event, code, column] of refused) {
      const answer = await post(world, JSON.stringify(event))
      assert.equal(answer.status, 422, `${sentence}: ${JSON.stringify(answer.body)}`)
      assert.equal(answer.headers.get('content-type'), 'application/problem+json; charset=utf-8')
      const [error] = answer.body.errors
      assert.deepEqual([error.index, error.code, error.column], [0, code, column], sentence)
    }
    assert.deepEqual(await rows(world, 'select from raw_logs'), [])
  })

  test('says of each event of an array what became of it, and stores the good ones', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, start(5))
    const answer = await post(world, [start(5), 17, end(5), { ...task(5, 't'), timestamp: 'never' }, task(5, 'u')])
    assert.deepEqual(
      [answer.status, answer.headers.get('millrace-rejected'), statuses(answer)],
      [201, '2', ['duplicate', 'rejected', 'stored', 'rejected', 'stored']],
    )
    assert.deepEqual(
      answer.body.results.map(({ code }: { code?: string }) => code),
      [undefined, 'NOT_AN_OBJECT', undefined, 'NOT_A_TIMESTAMP', undefined],
    )
    // lines are judged one by one, also those that are no JSON
    const lines = `${JSON.stringify(start(6))}\nnonsense\n${JSON.stringify(end(6))}`
    const mixed = await post(world, lines, '', { 'content-type': 'application/x-ndjson' })
    assert.deepEqual(statuses(mixed), ['stored', 'rejected', 'stored'])
    assert.equal((await computed(world, 6)).task_count, 0)
  })

  test('of hundreds of bad events each is told', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    const events = Array.from({ length: 300 }, (_, i) => (i % 2 === 0 ? start(i) : { ...start(i), job_id: `x${i}` }))
    const answer = await post(world, events)
    assert.deepEqual([answer.status, answer.body.stored, answer.body.rejected], [201, 150, 150])
    for (const { index, status, code } of answer.body.results)
      assert.deepEqual([status, code], index % 2 === 0 ? ['stored', undefined] : ['rejected', 'NOT_AN_INTEGER'])
  })
})

describe('raw_logs and job_analytics', { concurrency: 1 }, () => {
  test('times become UTC, and those without an offset are UTC', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, start(1, 0, { timestamp: '2024-03-30T12:00:00+02:00' }))
    await post(world, end(1, 0, { timestamp: '2024-03-30T10:00:07', completion_time: '2024-03-30T10:00:05' }))
    const { start_time, end_time } = await computed(world, 1)
    assert.deepEqual([start_time, end_time], ['2024-03-30T10:00:00.000Z', '2024-03-30T10:00:05.000Z'])
  })

  test('have these columns and no others', async () => {
    await using world = await sparkWorld()
    const columns = async (table: string) =>
      (
        await rows(
          world,
          `
          select attname as name, format_type(atttypid, null) as type, attnotnull as required,
                 pg_get_expr(adbin, adrelid) as usual
          from   pg_attribute
          left join pg_attrdef on adrelid = attrelid and adnum = attnum
          where  attrelid = $1::regclass and attnum > 0
          order by attnum`,
          [table],
        )
      ).map(({ name, type, required, usual }) => [name, type, required, usual])
    assert.deepEqual(await columns('raw_logs'), [
      ['id', 'uuid', true, 'gen_random_uuid()'],
      ['event', 'event_type_enum', true, null],
      ['job_id', 'integer', true, null],
      ['user', 'text', false, null],
      ['timestamp', 'timestamp with time zone', true, null],
      ['task_id', 'text', false, null],
      ['log', 'jsonb', true, null],
      ['insertion_time', 'timestamp with time zone', false, 'now()'],
      ['status', 'log_status_enum', true, `'pending'::log_status_enum`],
    ])
    assert.deepEqual(
      (await columns('job_analytics')).map(([name, type, required]) => [name, type, required]),
      [
        ['id', 'uuid', true],
        ['job_id', 'integer', true],
        ['user', 'text', true],
        ['start_time', 'timestamp with time zone', true],
        ['end_time', 'timestamp with time zone', true],
        ['duration_seconds', 'integer', true],
        ['task_count', 'integer', true],
        ['failed_tasks', 'integer', true],
        ['success_rate', 'double precision', true],
        ['insertion_time', 'timestamp with time zone', true],
      ],
    )
    const enums = await rows(
      world,
      `select enum_range(null::event_type_enum)::text as events, enum_range(null::log_status_enum)::text as statuses`,
    )
    assert.deepEqual(enums, [
      { events: '{SparkListenerJobStart,SparkListenerTaskEnd,SparkListenerJobEnd}', statuses: '{pending,processed}' },
    ])
  })

  test('a plain insert is enough, and a key comes once, also without a task', async () => {
    await using world = await sparkWorld()
    const insert = `insert into raw_logs (event, job_id, timestamp, log) values ('SparkListenerJobStart', 1, now(), '{}')`
    assert.ok(world.board.store !== undefined)
    await using sessions = world.board.store.sessions(1)
    await sessions.query(insert)
    await assert.rejects(() => sessions.query(insert), /duplicate key/)
  })

  test('start and end may come in either order; what is computed is processed', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, end(2))
    await post(world, [task(2, 'a', false), task(2, 'b'), task(2, 'c')])
    await post(world, start(2))
    const { task_count, failed_tasks, success_rate } = await computed(world, 2)
    assert.deepEqual([task_count, failed_tasks], [3, 1])
    assert.equal(success_rate, 2 / 3)
    assert.deepEqual(await rows(world, 'select distinct status::text from raw_logs'), [{ status: 'processed' }])
  })

  const measured: [sentence: string, events: Event[], expected: Event][] = [
    ['a job without tasks that succeeded', [start(1), end(1)], { task_count: 0, success_rate: 1 }],
    [
      'a job without tasks that failed',
      [start(1), end(1, 90, { job_result: 'JobFailed' })],
      { task_count: 0, success_rate: 0 },
    ],
    ['nobody', [start(1, 0, { user: null }), end(1)], { user: 'unknown' }],
    ['who ended it, when nobody started it', [start(1, 0, { user: null }), end(1, 9, { user: 'x' })], { user: 'x' }],
    ['seconds are rounded down', [start(1), end(1, 1.999)], { duration_seconds: 1 }],
    ['a job that ends before it starts', [start(1, 100), end(1, 0)], { duration_seconds: 0 }],
    [
      'no completion_time: the timestamp',
      [start(1), end(1, 50, { completion_time: undefined })],
      { end_time: '2024-03-30T10:13:35.000Z' },
    ],
    [
      'a completion_time that is none: the timestamp',
      [start(1), end(1, 50, { completion_time: '2024-13-45T99:99' })],
      { end_time: '2024-03-30T10:13:35.000Z' },
    ],
    [
      'only false is a failure',
      [start(1), task(1, 'a', false), { ...task(1, 'b'), successful: 'no' }, end(1)],
      { failed_tasks: 1 },
    ],
  ]
  test('says of a job what its events say', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    for (const [i, [sentence, events, expected]] of measured.entries()) {
      await post(
        world,
        events.map((event) => ({ ...event, job_id: 1000 + i })),
      )
      assert.partialDeepStrictEqual(await computed(world, 1000 + i), expected, sentence)
    }
  })

  test('a task that comes afterwards makes the job pending, and it is computed again', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, [start(3), end(3)])
    assert.equal((await computed(world, 3)).task_count, 0)
    await post(world, task(3, 'late', false))
    // it keeps answering meanwhile
    const body = await eventually(
      async () => {
        const answer = await get(world, '/analytics/jobs/3')
        assert.equal(answer.status, 200)
        return answer.body.task_count === 1 && answer.body
      },
      { what: () => 'the task counts' },
    )
    assert.deepEqual([body.failed_tasks, body.success_rate], [1, 0])
  })

  test('in any order, cut and number of times, events end in the same rows', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000)
    const random = randomFrom(seed)
    const histories = 12
    const expected: Event[] = []
    const sent: Event[] = []
    for (let job = 1; job <= histories; job++) {
      const tasks = Array.from({ length: Math.floor(random() * 6) }, (_, i) => task(job, `t${i}`, random() < 0.7, i))
      const succeeds = random() < 0.5
      const events = [
        start(job, job, random() < 0.3 ? { user: undefined } : {}),
        ...tasks,
        end(job, 50 + Math.floor(random() * 100), { job_result: succeeds ? 'JobSucceeded' : 'JobFailed' }),
      ]
      expected.push(analyticsOf(events))
      sent.push(...events, ...events.filter(() => random() < 0.4))
    }
    const shuffled = sent.map((event) => ({ event, place: random() })).sort((a, b) => a.place - b.place)
    for (let from = 0; from < shuffled.length; ) {
      const to = from + 1 + Math.floor(random() * 8)
      const answer = await post(
        world,
        shuffled.slice(from, to).map(({ event }) => event),
      )
      assert.ok([200, 201].includes(answer.status), `seed ${seed}: ${JSON.stringify(answer.body)}`)
      from = to
    }
    await settled(world)
    const found = await rows(
      world,
      `
      select job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate
      from   job_analytics
      order by job_id`,
    )
    assert.deepEqual(found, expected, `seed ${seed}`)
  })
})

// Slow and obvious.
function analyticsOf(events: Event[]): Event {
  const [first = {}] = events.filter(({ event }) => event === 'SparkListenerJobStart')
  const [last = {}] = events.filter(({ event }) => event === 'SparkListenerJobEnd')
  const tasks = events.filter(({ event }) => event === 'SparkListenerTaskEnd')
  const failed = tasks.filter(({ successful }) => successful === false).length
  const [from, to] = [new Date(String(first['timestamp'])), new Date(String(last['completion_time']))]
  const succeeded = last['job_result'] === 'JobSucceeded' ? 1 : 0
  return {
    job_id: first['job_id'],
    user: first['user'] ?? 'unknown',
    start_time: from,
    end_time: to,
    duration_seconds: Math.max(0, Math.floor((to.getTime() - from.getTime()) / 1000)),
    task_count: tasks.length,
    failed_tasks: failed,
    success_rate: tasks.length === 0 ? succeeded : (tasks.length - failed) / tasks.length,
  }
}

describe('GET /analytics', { concurrency: 1 }, () => {
  test('a job that is not computed is 202, known or not, is asked for, and is never cached', async () => {
    await using world = await sparkWorld()
    const unknown = await get(world, '/analytics/jobs/44')
    assert.deepEqual([unknown.status, unknown.body], [202, { job_id: 44, status: 'pending', known: false }])
    assert.equal(unknown.headers.get('retry-after'), '1')
    {
      await using _worker = world.work()
      await post(world, start(44))
    }
    assert.deepEqual((await get(world, '/analytics/jobs/44')).body, { job_id: 44, status: 'pending', known: true })
    assert.deepEqual(await rows(world, `select distinct task from millrace.task_requests where key = '44'`), [
      { task: 'compute_job_analytics' },
    ])
    await using _worker = world.work()
    await post(world, end(44))
    assert.equal((await computed(world, 44)).job_id, 44)
  })

  test('metrics tell the tasks that wait, by task and state', async () => {
    await using world = await sparkWorld()
    await get(world, '/analytics/jobs/5')
    const told = await (await fetch(`${world.url}/metrics`)).text()
    assert.match(told, /^millrace_tasks\{pipeline="spark-logs",task="compute_job_analytics",state="asked"\} 1$/m)
    assert.match(told, /^millrace_tasks\{pipeline="spark-logs",task="compute_job_analytics",state="dead"\} 0$/m)
  })

  test('a job that is no integer, or that no int holds, is 422', async () => {
    await using world = await sparkWorld()
    for (const job of ['x', '1.5', '2147483648', '-2147483649', '99999999999999999999', '%20']) {
      const { status, body } = await get(world, `/analytics/jobs/${job}`)
      assert.deepEqual([status, body.code], [422, 'WRONG_PARAMETER'], job)
    }
    assert.equal((await get(world, '/analytics/jobs/-2147483648')).status, 202)
  })

  test('the summary has the jobs that ended on a day, by their end and number, and totals', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    const midnight = { completion_time: '2024-03-31T00:00:00Z' }
    await post(world, [start(9), end(9, 60), task(9, 'a', false), start(8), end(8, 60), start(7), end(7, 30)])
    await post(world, [task(8, 'a'), start(6), end(6, 0, midnight)])
    for (const job of [9, 8, 7, 6]) await computed(world, job)
    await settled(world)
    const { status, body } = await get(world, '/analytics/summary?date=2024-03-30')
    assert.equal(status, 200)
    assert.deepEqual(
      body.jobs.map(({ job_id }: { job_id: number }) => job_id),
      [7, 8, 9],
    )
    assert.deepEqual(Object.keys(body.jobs[0]), [
      'job_id',
      'user',
      'start_time',
      'end_time',
      'duration_seconds',
      'task_count',
      'failed_tasks',
      'success_rate',
    ])
    assert.deepEqual(body.totals, {
      jobs: 3,
      task_count: 2,
      failed_tasks: 1,
      success_rate: 0.5,
      duration_seconds: 150,
    })
    assert.equal((await get(world, '/analytics/summary?date=2024-03-31')).body.totals.jobs, 1)
    const empty = await get(world, '/analytics/summary?date=2024-02-29')
    assert.deepEqual([empty.status, empty.body.jobs, empty.body.date], [200, [], '2024-02-29'])
    for (const query of ['', '?date=', '?date=2024-02-30', '?date=30.03.2024', '?date=2024-3-30', '?date=0000-01-01'])
      assert.equal((await get(world, `/analytics/summary${query}`)).status, 422, query)
  })

  test('answers are cached, and those of the job, of its day and of the day it ended on before are dropped', async () => {
    await using world = await sparkWorld()
    await using _worker = world.work()
    await post(world, [start(1), end(1)])
    await computed(world, 1)
    const summary = async (day: string) =>
      (await get(world, `/analytics/summary?date=${day}`)).body.jobs.map((job: Event) => [job['job_id'], job['user']])
    assert.deepEqual(await summary('2024-03-30'), [[1, 'data_engineer_1']])
    assert.ok(world.board.store !== undefined)
    await using sessions = world.board.store.sessions(1)
    // what nobody computes is not seen; the drop of the first computation may still be on its way
    let changes = 0
    const seenAfterChange = async () => {
      await sessions.query(`update job_analytics set "user" = $1`, [`user ${++changes}`])
      return [(await get(world, '/analytics/jobs/1')).body.user, await summary('2024-03-30')]
    }
    await eventually(async () => isDeepStrictEqual(await seenAfterChange(), await seenAfterChange()), {
      what: () => 'both answers are kept',
    })
    assert.deepEqual(await summary('2024-03-31'), [])
    // its end moves to another day
    await sessions.query(`
      update raw_logs
      set    log = log || '{"completion_time": "2024-03-31T01:00:00Z"}', status = 'pending'
      where  event = 'SparkListenerJobEnd'`)
    await world.board.store.requestTask('spark-logs', 'compute_job_analytics', ['1'])
    await eventually(async () => (await get(world, '/analytics/jobs/1')).body.end_time === '2024-03-31T01:00:00.000Z', {
      what: () => 'the end has moved',
    })
    assert.deepEqual(await summary('2024-03-30'), [])
    assert.deepEqual(await summary('2024-03-31'), [[1, 'data_engineer_1']])
  })
})

describe('with Redis', { concurrency: 1, skip: noRedis }, () => {
  test('answers lie there under their keys for CACHE_TTL, one that is pending does not, and a change drops them', async () => {
    await using redis = await startRedis()
    await using world = await sparkWorld({ env: { REDIS_URL: redis.url, CACHE_TTL: '1800' } })
    await using _worker = world.work()
    await post(world, start(101))
    await get(world, '/analytics/jobs/101')
    assert.equal(await redis.client.exists('job_analytics:101'), 0)
    await post(world, end(101))
    await computed(world, 101)
    // what was kept between the commit and its drops is dropped with them
    await eventually(async () => (await rows(world, 'select from millrace.cache_drops')).length === 0, {
      what: () => 'the drops are done',
    })
    const job = (await get(world, '/analytics/jobs/101')).body
    const summary = (await get(world, '/analytics/summary?date=2024-03-30')).body
    const keys = ['job_analytics:101', 'analytics_summary:2024-03-30'] as const
    assert.deepEqual(
      (await redis.client.keys('*')).filter((key) => !key.startsWith('millrace:')).sort(),
      [...keys].sort(),
    )
    assert.deepEqual(JSON.parse((await redis.client.get(keys[0])) ?? ''), job)
    assert.deepEqual(JSON.parse((await redis.client.get(keys[1])) ?? ''), summary)
    for (const key of keys) {
      const left = await redis.client.ttl(key)
      assert.ok(left > 1700 && left <= 1800, `${key} stays for ${left} s`)
    }
    await post(world, task(101, 'late'))
    await eventually(async () => (await redis.client.exists([...keys])) === 0, { what: () => 'both are dropped' })
    assert.equal((await get(world, '/analytics/jobs/101')).body.task_count, 1)
    assert.equal((await get(world, '/analytics/summary?date=2024-03-30')).body.totals.task_count, 1)
  })

  test('when it is killed, the API answers from Postgres', async () => {
    await using redis = await startRedis()
    await using world = await sparkWorld({ env: { REDIS_URL: redis.url } })
    await using _worker = world.work()
    await post(world, [start(1), end(1)])
    const job = await computed(world, 1)
    await redis.kill()
    assert.deepEqual((await get(world, '/analytics/jobs/1')).body, job)
    assert.equal((await get(world, '/analytics/summary?date=2024-03-30')).status, 200)
    assert.equal((await post(world, [start(2), end(2), task(1, 'late')])).status, 201)
    assert.equal((await computed(world, 2)).job_id, 2)
    await settled(world)
    assert.equal((await get(world, '/analytics/jobs/1')).body.task_count, 1)
  })

  test('what could not be dropped while it was silent is dropped when it answers', async () => {
    await using redis = await startRedis()
    await using world = await sparkWorld({ env: { REDIS_URL: redis.url } })
    await using _worker = world.work()
    await post(world, [start(1), end(1)])
    await computed(world, 1)
    redis.freeze()
    await post(world, task(1, 'late'))
    await settled(world)
    redis.thaw()
    await eventually(async () => (await get(world, '/analytics/jobs/1')).body.task_count === 1, {
      what: () => 'the old answer is gone',
    })
    await eventually(async () => (await rows(world, 'select from millrace.cache_drops')).length === 0, {
      what: () => 'nothing is left to drop',
    })
  })
})

describe('schedule_pending_analytics', { concurrency: 1 }, () => {
  const insertJobs = `
    insert into raw_logs (event, job_id, timestamp, task_id, log)
    select event::event_type_enum, job, '2020-01-01T00:00:00Z'::timestamptz + offset_s * interval '1 second', task_id,
           jsonb_build_object('successful', true)
    from   generate_series(1, 500) job,
           (values ('SparkListenerJobStart', 0, null), ('SparkListenerTaskEnd', 5, 't'), ('SparkListenerJobEnd', 9, null))
             events(event, offset_s, task_id)
    -- one that has not ended
    where  not (job = 500 and event = 'SparkListenerJobEnd')`

  test('at the start it finds rows that were put straight into raw_logs, however old; twice changes nothing', async () => {
    await using world = await sparkWorld()
    assert.ok(world.board.store !== undefined)
    const { store } = world.board
    await using sessions = store.sessions(1)
    await sessions.query(insertJobs)
    {
      await using _worker = world.work()
      await settled(world)
    }
    const all = `select * from job_analytics order by job_id`
    const before = await rows(world, all)
    assert.equal(before.length, 499)
    assert.deepEqual(await rows(world, `select distinct job_id from raw_logs where status = 'pending'`), [
      { job_id: 500 },
    ])
    await store.requestTask('spark-logs', 'schedule_pending_analytics', [''])
    {
      await using _worker = world.work()
      await idle(world)
    }
    assert.deepEqual(await rows(world, all), before)
  })

  test('runs every RECONCILE_EVERY, and after --bulk', async () => {
    await using world = await sparkWorld({ env: { RECONCILE_EVERY: '200 ms' } })
    await using _worker = world.work()
    await idle(world)
    assert.ok(world.board.store !== undefined)
    await using sessions = world.board.store.sessions(1)
    await sessions.query(insertJobs)
    await settled(world)
    assert.equal((await rows(world, 'select from job_analytics')).length, 499)
  })
})

// Nothing is asked for, and nothing runs.
async function idle(world: IngestWorld): Promise<void> {
  const left = async () => [
    ...(await rows(world, 'select from millrace.task_requests')),
    ...(await rows(world, 'select from millrace_tasks.job').catch(() => [{}])),
  ]
  await eventually(async () => (await left()).length === 0, { what: () => 'no task is left' })
}

/** spark-logs and tasks as people call them: through the command line, in processes that are killed, too. */
import assert from 'node:assert/strict'
import { cp, mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { eventually, startMillrace } from './crash/process.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'
import { samples } from './spark-logs/world.ts'

describe('spark-logs on the command line', { concurrency: 1 }, () => {
  let database: TestDatabase
  let folder: { path: string } & AsyncDisposable
  let sql: Awaited<ReturnType<TestDatabase['connect']>>

  before(async () => {
    database = await testDatabase()
    folder = await mkdtempDisposable(join(tmpdir(), 'millrace-spark-logs-'))
    sql = await database.connect()
  })
  after(async () => {
    await database[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const start = (args: string) =>
    startMillrace(args.split(' '), folder.path, {
      MILLRACE_DATA: join(folder.path, 'data'),
      // as SQLAlchemy has it
      DATABASE_URL: database.url.replace('postgresql://', 'postgresql+psycopg2://'),
    })
  const ended = async (code: number, args: string): Promise<string> => {
    await using running = start(args)
    assert.deepEqual(await running.ended(), { code, signal: null }, running.story())
    return code === 0 ? running.out : running.story()
  }
  const one = async (text: string) => (await sql.query<{ n: number }>(`select ${text} as n`)).rows[0]?.n
  const finished = '(select count(distinct job_id)::int from raw_logs)'

  test('migrate creates all of it', async () => {
    await ended(0, 'migrate')
    assert.equal(await one(`(select count(*)::int from raw_logs) + (select count(*)::int from job_analytics)`), 0)
  })

  test('generate makes ten jobs by the road of posted events, or straight into raw_logs; a worker computes them', async () => {
    assert.match(await ended(0, 'generate spark-logs --seed 3 --events-per-second 1000'), /in the topic spark\.logs/)
    assert.match(await ended(0, 'generate spark-logs --seed 4 --bulk'), /in the database/)
    assert.equal(await one(finished), 10)
    assert.match(await ended(2, 'generate telemetra --count 1 --bulk'), /the generator of telemetra cannot do that/)
    const worker = start('work spark-logs')
    try {
      await eventually(async () => (await one('(select count(*)::int from job_analytics)')) === 20, {
        what: () => `both are computed: ${worker.story()}`,
        withinMs: 120_000,
      })
    } finally {
      await worker[Symbol.asyncDispose]()
    }
    assert.equal(await one(`(select count(*)::int from raw_logs where status = 'pending')`), 0)
  })

  test('reset has event logs read again, and with --results empties what is told of them and of jobs', async () => {
    const numbers = `(select jsonb_build_array((select count(*) from spark_jobs), (select count(*) from spark_stages),
      (select count(*) from spark_job_analytics), (select count(*) from spark_findings), (select max(rounds) from spark_event_logs)))::text`
    const jobs = '(select count(*)::int from job_analytics)'
    await cp(join(samples, 'local-1795296803699'), join(folder.path, 'data', 'spark-events', 'local-1795296803699'))
    await ended(0, 'run spark-logs')
    const [told, before] = [await one(numbers), Number(await one(jobs))]
    assert.equal(told, '[3, 5, 3, 2, 1]')
    // beside what it said before: rows that say the same stay as they are
    await ended(0, 'reset spark-logs --yes')
    assert.equal(await one(`(select count(*)::int from spark_event_logs)`), 0)
    await ended(0, 'run spark-logs')
    assert.equal(await one(numbers), told)
    assert.match(await ended(0, 'reset spark-logs --results --yes'), /job_analytics is empty; it had \d+ rows/)
    assert.equal(await one(numbers), '[0, 0, 0, 0, null]')
    assert.equal(await one(jobs), 0)
    await ended(0, 'run spark-logs')
    assert.equal(await one(numbers), told)
    assert.ok(before > 3)
  })

  test('a worker that is killed while it computes leaves nothing undone', async () => {
    await ended(0, 'generate spark-logs --seed 5 --bulk --jobs 40')
    // what computes job after job waits here
    await sql.query('begin; lock table job_analytics in share row exclusive mode')
    const killed = start('work spark-logs')
    await eventually(
      async () =>
        (await one(
          `(select count(*)::int from pg_locks where relation = 'job_analytics'::regclass and not granted)`,
        )) === 1,
      { what: () => `it waits in the middle of its work: ${killed.story()}`, withinMs: 120_000 },
    )
    killed.signal('SIGKILL')
    await killed.ended()
    await sql.query('commit')
    await using _next = start('work spark-logs')
    await eventually(async () => (await one(`(select count(*)::int from raw_logs where status = 'pending')`)) === 0, {
      what: () => 'all are computed',
      withinMs: 120_000,
    })
    // beside those of event logs
    assert.equal(await one('(select count(*)::int from only job_analytics)'), await one(finished))
  })

  test('tasks that are dead are listed, and run again', async () => {
    await sql.query(`
      insert into millrace_tasks.job (name, data, state, retry_limit, retry_count, singleton_key, policy, completed_on, output)
      select name, '{"key": "1"}', 'failed', 5, 5, '1', policy, now(), '{"why": "no \\u001b[31m such table"}'
      from   millrace_tasks.queue
      where  name = 'spark-logs/compute_job_analytics'`)
    const list = await ended(0, 'tasks list --dead')
    assert.match(list, /spark-logs\s+compute_job_analytics\s+1\s+dead\s+6\s+no \S* such table/)
    assert.ok(!list.includes('\u001b'))
    const [task] = (await ended(0, 'tasks list spark-logs --dead --json'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    assert.partialDeepStrictEqual(task, { pipeline: 'spark-logs', key: '1', state: 'dead', failures: 6 })
    assert.match(await ended(2, 'tasks retry'), /which task\?/)
    assert.match(await ended(1, 'tasks retry 00000000-0000-4000-8000-000000000000'), /there is no dead task/)
    assert.match(await ended(0, `tasks retry ${task.id}`), /1 task will be run again/)
    assert.match(await ended(0, 'tasks retry --all'), /no task is dead/)
    await using _worker = start('work spark-logs')
    await eventually(async () => (await one('(select count(*)::int from millrace_tasks.job)')) === 0, {
      what: () => 'it has run',
      withinMs: 120_000,
    })
  })
})

/** Event logs over HTTP, and jobs of both kinds in `job_analytics`. */
import assert from 'node:assert/strict'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { randomFrom } from '../../pipelines/sample-random.ts'
import { rowsOf } from './rows.ts'
import { plainly, sample, text } from './samples.ts'
import { openWorld, type Row, type World } from './world.ts'

const post = (world: World, app: string, body: string | Uint8Array, headers?: Record<string, string>, more = '') =>
  world.post(`/logs/ingest?app_id=${app}${more}`, body, headers)

test('lines of a log that are posted say what the log says, in any order and cut, however often they come', async () => {
  const { id, lines } = sample('failing')
  const wanted = await plainly(lines, id)
  for (const seed of [1, 2]) {
    const random = randomFrom(seed)
    const shuffled = [...lines, ...lines.filter(() => random() < 0.3)]
      .map((line) => ({ line, at: random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ line }) => line)
    await using world = await openWorld()
    let round = 0
    for (let at = 0; at < shuffled.length; round++) {
      const some = shuffled.slice(at, at + Math.ceil(random() * shuffled.length * 0.4))
      at += some.length
      const [body, headers] = [
        [text(some), {}],
        [gzipSync(text(some)), { 'content-encoding': 'gzip' }],
        [zstdCompressSync(text(some)), { 'content-encoding': 'zstd' }],
        [`[${some.join(',\n')}]`, { 'content-type': 'application/json' }],
      ][round % 4] as [string | Uint8Array, Record<string, string>]
      const answer = await post(world, id, body, headers)
      assert.deepEqual([answer.status, answer.body['accepted']], [202, some.length])
      assert.equal(answer.headers.get('location'), `/api/v1/applications/${id}`)
      if (random() < 0.7) await world.follow()
    }
    await world.follow()
    assert.deepEqual(await rowsOf(world, id), wanted, `seed ${seed}`)
    const [app] = await world.sql('select complete, marks from spark_apps')
    assert.deepEqual(app, { complete: true, marks: [] })
    const zip = await world.get(`/api/v1/applications/${id}/logs`)
    assert.deepEqual([zip.status, zip.text.slice(0, 2)], [200, 'PK'])
  }
})

test('an Idempotency-Key is refused and nothing is stored, for lines that come again count once anyway', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  const refused = await post(world, id, text(lines), { 'idempotency-key': 'nightly-1' })
  assert.deepEqual([refused.status, refused.body['code']], [422, 'WRONG_PARAMETER'])
  assert.match(String(refused.body['detail']), /Idempotency-Key/)
  await world.follow()
  assert.deepEqual(await world.sql('select app_id from spark_apps'), [])
  for (const _ of ['at first', 'again']) assert.equal((await post(world, id, text(lines))).status, 202)
  await world.follow()
  assert.deepEqual(await rowsOf(world, id), await plainly(lines, id))
})

test('of a log that lies in the folder too, lines that are in both count once', async () => {
  const { id, lines } = sample('retries')
  await using world = await openWorld()
  await post(world, id, text(lines.slice(0, 40)))
  await world.follow()
  await writeFile(join(world.logs, id), text(lines.slice(20)))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id), await plainly(lines, id))
})

test('attempts are told apart, and posts that come at once are all there', async () => {
  const { lines } = sample('plain')
  const id = 'application_1711793565000_0007'
  await using world = await openWorld()
  await Promise.all(lines.map((line) => post(world, id, line, {}, '&attempt=1')))
  await post(world, id, text(lines.slice(0, 10)), {}, '&attempt=2')
  await world.follow()
  const apps = await world.sql('select app_id, attempt, lines, complete from spark_apps order by attempt')
  assert.deepEqual(apps, [
    { app_id: id, attempt: '1', lines: lines.length, complete: true },
    { app_id: id, attempt: '2', lines: 10, complete: false },
  ])
})

test('what a crash has left of a line keeps the next ones whole', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  await post(world, id, text(lines.slice(0, 20)))
  const path = join(world.config.dataDirectory, 'kept', 'spark-logs-event-logs', 'posted', id)
  await appendFile(path, (lines[20] ?? '').slice(0, 50))
  await world.follow()
  await post(world, id, text(lines.slice(20)))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id), await plainly(lines, id))
  assert.ok((await readFile(path, 'utf8')).endsWith('\n'))
})

test('what is no line of a log is told and not stored, and what is no application is refused', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  const bad = ['[1]', '{"event":"SparkListenerJobEnd","job_id":1}', '{"Event":']
  const told = await post(world, id, [...lines.slice(0, 5), ...bad].join('\n'))
  assert.deepEqual([told.status, told.body['accepted'], told.body['rejected']], [202, 5, 3])
  assert.deepEqual(
    (told.body['results'] as Row[]).map(({ index, code }) => [index, code]),
    [
      [5, 'NOT_AN_OBJECT'],
      [6, 'NO_EVENT'],
      [7, 'NOT_JSON'],
    ],
  )
  assert.equal((await post(world, id, bad[1] ?? '')).status, 422)
  for (const app of ['..%2F..%2Fetc', 'app-1.zstd', 'app-1.inprogress', 'somebody', 'app-1_2', 'app-1%0A'])
    assert.equal((await post(world, app, text(lines))).status, 422, app)
  assert.equal((await post(world, 'app-1', text(lines), {}, '&attempt=..')).status, 422)
  await world.follow()
  assert.deepEqual(await world.sql('select app_id, lines, bad_lines from spark_apps'), [
    { app_id: id, lines: 5, bad_lines: 0 },
  ])
})

// ---- job_analytics -------------------------------------------------------------------------------------------------

const ofJob = 'job_id, "user", duration_seconds, task_count, failed_tasks, success_rate'

test('job_analytics has the jobs of event logs beside those that were posted one by one', async () => {
  await using world = await openWorld()
  await world.store.write('spark-logs', async ({ sql }) => {
    await sql(`insert into job_analytics (job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate)
      select 0, 'somebody', ended, ended, 0, 1, 0, 1 from (select timestamptz '2024-03-30T10:00Z' as ended) d`)
  })
  const [retries, failing] = [sample('retries'), sample('failing')]
  for (const { id, lines } of [retries, failing]) await writeFile(join(world.logs, id), text(lines))
  await world.follow()
  const [{ user } = {}] = await world.sql('select "user" from spark_apps limit 1')
  // the numbers of jobs begin at 0 in each application: here is what Spark's own events say
  const expected = [retries, failing].flatMap(({ lines }) => jobsIn(lines, user))
  const got = await world.sql(`select ${ofJob} from spark_job_analytics order by app_id = $1 desc, job_id`, [
    retries.id,
  ])
  assert.deepEqual(got, expected)
  const all = await world.sql(`select ${ofJob} from job_analytics order by job_id, "user"`)
  assert.equal(all.length, expected.length + 1)
  assert.deepEqual(await world.sql('select "user" from only job_analytics'), [{ user: 'somebody' }])
  const zero = await world.sql('select count(*)::int as n from job_analytics where job_id = 0')
  assert.deepEqual(zero, [{ n: 3 }])
})

// Slow and obvious: tasks of the stages that a job names, for no stage here is shared by jobs.
function jobsIn(lines: string[], user: unknown): Row[] {
  // biome-ignore lint/suspicious/noExplicitAny: events as Spark writes them
  const events: any[] = lines.map((line) => JSON.parse(line))
  const ends = new Map(events.filter((e) => e.Event === 'SparkListenerJobEnd').map((e) => [e['Job ID'], e]))
  return events
    .filter((e) => e.Event === 'SparkListenerJobStart' && ends.has(e['Job ID']))
    .map((start) => {
      const end = ends.get(start['Job ID'])
      const tasks = events.filter(
        (e) => e.Event === 'SparkListenerTaskEnd' && start['Stage IDs'].includes(e['Stage ID']),
      )
      const bad = tasks.filter((e) => e['Task End Reason'].Reason !== 'Success').length
      const succeeded = end['Job Result'].Result === 'JobSucceeded'
      return {
        job_id: start['Job ID'],
        user,
        duration_seconds: Math.floor((end['Completion Time'] - start['Submission Time']) / 1000),
        task_count: tasks.length,
        failed_tasks: bad,
        success_rate: tasks.length > 0 ? (tasks.length - bad) / tasks.length : succeeded ? 1 : 0,
      }
    })
}

test('the summary of a day has jobs of both kinds, and a job of a log is asked for with its application', async () => {
  await using world = await openWorld()
  const { id, lines } = sample('plain')
  await writeFile(join(world.logs, id), text(lines))
  await world.follow()
  const jobs = await world.sql('select * from spark_job_analytics order by end_time')
  const ended = jobs[0]?.['end_time']
  assert.ok(ended instanceof Date)
  await world.store.write('spark-logs', async ({ sql }) => {
    await sql(
      `insert into job_analytics (job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate)
       values (0, 'somebody', $1, $1, 5, 4, 3, 0.25)`,
      [new Date(ended.getTime() - 1)],
    )
  })
  // as: what the contract answers
  const { body } = (await world.get(`/analytics/summary?date=${ended.toISOString().slice(0, 10)}`)) as {
    body: { jobs: Row[]; totals: Row }
  }
  assert.deepEqual(
    body.jobs.map(({ job_id, app_id, user }) => [job_id, app_id, user === 'somebody']),
    [
      [0, undefined, true],
      [0, id, false],
      [1, id, false],
      [2, id, false],
    ],
  )
  assert.deepEqual([body.totals['jobs'], body.totals['task_count'], body.totals['failed_tasks']], [4, 16, 3])
  const own = (await world.get('/analytics/jobs/0')).body as Row
  assert.deepEqual([own['user'], own['app_id']], ['somebody', undefined])
  const ofLog = (await world.get(`/analytics/jobs/0?app_id=${id}`)).body as Row
  assert.deepEqual([ofLog['app_id'], ofLog['task_count']], [id, 7])
  const unknown = await world.get(`/analytics/jobs/9?app_id=${id}`)
  assert.deepEqual([unknown.status, unknown.body], [202, { job_id: 9, app_id: id, status: 'pending', known: false }])
})

test('a log that is told anew asks for its days to be forgotten by the cache, and others are not', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  const asked = async (): Promise<unknown[]> => {
    const rows = await world.sql(`select task, key from millrace.task_requests order by id`)
    await world.store.write('spark-logs', ({ sql }) => sql('delete from millrace.task_requests'))
    return rows.map(({ task, key }) => `${task} ${key}`)
  }
  await writeFile(join(world.logs, id), text(lines.slice(0, -10)))
  await world.follow()
  const [{ day } = {}] = await world.sql(
    `select to_char(max(end_time) at time zone 'UTC', 'YYYY-MM-DD') as day from spark_job_analytics`,
  )
  assert.deepEqual(await asked(), [`forget_summaries ${day}`])
  // nothing that is in a summary
  await appendFile(join(world.logs, id), '{"Event":"SparkListenerNothing"}\n')
  await world.follow()
  assert.deepEqual(await asked(), [])
  await appendFile(join(world.logs, id), text(lines.slice(-10)))
  await world.follow()
  assert.deepEqual(await asked(), [`forget_summaries ${day}`])
})

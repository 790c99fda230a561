/** What the page asks of spark-logs: one job, one application, jobs of a day and how long they take. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sample, text } from './samples.ts'
import { openWorld, type Row, type World } from './world.ts'

async function rows(world: World, query: string): Promise<Row[]> {
  const { status, body } = await world.get(`/api/results/spark-logs/${query}`)
  assert.equal(status, 200, query)
  return (body as { rows: Row[] }).rows
}

async function facts(world: World, query: string): Promise<Row> {
  return Object.fromEntries((await rows(world, query)).map(({ what, value }) => [String(what), value]))
}

async function withSamples(...names: string[]): Promise<World> {
  const world = await openWorld()
  for (const name of names) {
    const { id, lines } = sample(name)
    await writeFile(join(world.logs, id), text(lines))
  }
  await world.follow()
  return world
}

async function posted(world: World, job: number, user: string, ended: string): Promise<void> {
  await world.store.write('spark-logs', async ({ sql }) => {
    await sql(
      `insert into raw_logs (event, job_id, "user", timestamp, task_id, log, status) values
         ('SparkListenerJobStart', $1, $2, $3::timestamptz - interval '9 s', null, '{}', 'processed'),
         ('SparkListenerTaskEnd', $1, null, $3, 't1', '{"duration_ms": 12, "successful": false}', 'pending')`,
      [job, user, ended],
    )
    await sql(
      `insert into job_analytics (job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate)
       values ($1, $2, $3::timestamptz - interval '9 s', $3, 9, 4, 1, 0.75)`,
      [job, user, ended],
    )
  })
}

test('of one job it is told how long its tasks took, what is wrong with it, and how its stages went', async () => {
  await using world = await withSamples('retries', 'plain')
  const { id, lines } = sample('retries')
  // slow and obvious
  const took = lines
    .map((line) => JSON.parse(line))
    .filter((event) => event.Event === 'SparkListenerTaskEnd')
    .map((event) => event['Task Info']['Finish Time'] - event['Task Info']['Launch Time'])
    .sort((a, b) => a - b)
  assert.equal(took.length, 12)
  const bars = await rows(world, `job-tasks?app=${id}&job=0`)
  const between = (from: number, to: number): number => took.filter((ms) => ms >= from && ms < to).length
  assert.deepEqual(
    bars.map(({ took, tasks }) => [took, tasks]),
    [
      ['200 to 500 ms', between(200, 500)],
      ['500 to 1000 ms', between(500, 1000)],
      ['1 to 2 s', between(1000, 2000)],
      ['2 to 5 s', between(2000, 5000)],
    ],
  )
  const [stage] = await rows(world, `job-stages?app=${id}&job=0`)
  const at = (share: number): number => (took[Math.ceil(share * took.length) - 1] ?? 0) / 1000
  assert.partialDeepStrictEqual(stage, {
    stage: '0.0',
    status: 'COMPLETE',
    tasks: 8,
    failed_tasks: 4,
    least_seconds: at(0.01),
    p25_seconds: at(0.25),
    median_seconds: at(0.5),
    p75_seconds: at(0.75),
    longest_seconds: at(1),
  })
  const findings = await rows(world, `job-findings?app=${id}&job=0`)
  assert.deepEqual(
    findings.map(({ finding, about }) => [finding, String(about).slice(0, 16)]),
    [
      ['root_cause', 'ExceptionFailure'],
      ['skew', 'stage 0.0'],
    ],
  )
  assert.partialDeepStrictEqual(await facts(world, `job?app=${id}&job=0`), {
    job: `0 of ${id}`,
    status: 'SUCCEEDED',
    tasks: '8 did well, 4 failed, 0 were killed, 0 skipped',
    'tasks that did well': '66.67 %',
  })
  assert.deepEqual(await rows(world, `job-events?app=${id}&job=0`), [])
  for (const what of ['job', 'job-tasks', 'job-stages', 'job-findings', 'job-events'])
    for (const nobody of [`app=${id}&job=77`, 'job=x', 'app=nobody', 'job=99999999999'])
      assert.deepEqual(await rows(world, `${what}?${nobody}`), [], `${what}?${nobody}`)
})

test('a number alone means a job that was posted, else the newest of that number; without one it is the last', async () => {
  await using world = await withSamples('retries', 'plain')
  const { id } = sample('retries')
  assert.equal((await facts(world, 'job?job=0'))['job'], `0 of ${id}`)
  await posted(world, 0, 'somebody', '2024-03-30T10:00:00Z')
  assert.partialDeepStrictEqual(await facts(world, 'job?job=0'), {
    job: '0',
    user: 'somebody',
    state: 'is computed again',
    took: '9 s',
    tasks: '4, 1 failed',
    events: '2, 1 pending',
  })
  assert.deepEqual(
    (await rows(world, 'job-events?job=0')).map(({ event, successful, duration_ms }) => [
      event,
      successful,
      duration_ms,
    ]),
    [
      ['SparkListenerJobStart', null, null],
      ['SparkListenerTaskEnd', 'false', 12],
    ],
  )
  assert.deepEqual(await rows(world, 'job-tasks?job=0'), [])
  assert.equal((await facts(world, 'job'))['job'], `0 of ${id}`)
  await posted(world, 5, 'somebody', '2036-03-30T10:00:00Z')
  assert.equal((await facts(world, 'job'))['job'], '5')
  await world.store.write('spark-logs', ({ sql }) => sql('delete from job_analytics where job_id = 5'))
  assert.match(String((await facts(world, 'job?job=5'))['state']), /^not computed/)
})

test('jobs of a day are found by day, user, number and application, with their success rate', async () => {
  await using world = await withSamples('retries', 'plain')
  const [retries, plain] = [sample('retries').id, sample('plain').id]
  await posted(world, 7, 'somebody', '2024-03-30T23:59:59Z')
  await posted(world, 8, 'another', '2024-03-31T00:00:00Z')
  const jobs = async (query: string): Promise<unknown[]> =>
    (await rows(world, `jobs?${query}`)).map(({ job_id, app_id, success_rate }) => [job_id, app_id, success_rate])
  assert.deepEqual(await jobs('day=2024-03-30'), [[7, null, 0.75]])
  assert.deepEqual(await jobs('day=2024-03-31&user=somebody'), [])
  assert.deepEqual(await jobs('job=8'), [[8, null, 0.75]])
  assert.deepEqual(await jobs('job=8&day=2024-03-30'), [])
  // the last day on which a job ended
  assert.deepEqual(await jobs(''), [
    [0, retries, 8 / 12],
    [2, plain, 1],
    [1, plain, 1],
    [0, plain, 1],
  ])
  assert.equal((await jobs(`app=${plain}`)).length, 3)
  assert.equal((await rows(world, 'times')).length, 6)
  assert.deepEqual(await rows(world, 'times?user=another'), [{ end_time: '2024-03-31T00:00:00.000Z', seconds: 9 }])
  const days = await rows(world, 'days?days=3660')
  assert.deepEqual(
    days.map(({ jobs, task_count }) => [jobs, task_count]),
    [
      [1, 4],
      [1, 4],
      [4, 24],
    ],
  )
})

test('of one application its facts, jobs, stages and findings are those of the attempt that is named, or the newest', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  await writeFile(join(world.logs, `${id}_1`), text(lines))
  await writeFile(join(world.logs, `${id}_2`), text(sample('retries').lines))
  await world.follow()
  assert.partialDeepStrictEqual(await facts(world, `application?app=${id}`), {
    application: `${id}, attempt 2`,
    name: 'retries',
    jobs: '1, 0 failed, 0 run',
    state: 'complete',
  })
  const counts = async (more: string): Promise<number[]> =>
    await Promise.all(
      ['application-jobs', 'durations', 'stages'].map(async (name) => (await rows(world, `${name}?${more}`)).length),
    )
  assert.deepEqual(await counts(`app=${id}`), [1, 1, 1])
  assert.deepEqual(await counts(`app=${id}&attempt=1`), [3, 3, 5])
  assert.deepEqual(await counts(''), [1, 1, 1])
  assert.deepEqual(await counts('app=nobody'), [0, 0, 0])
  assert.ok((await rows(world, `findings?app=${id}`)).some(({ finding }) => finding === 'root_cause'))
  assert.ok((await rows(world, `findings?app=${id}&attempt=1`)).every(({ finding }) => finding !== 'root_cause'))
})

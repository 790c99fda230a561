/** Event logs of real Sparks, and what is done to them: cut, grown, shuffled, doubled, killed over. Long because it is a list. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { randomFrom } from '../../pipelines/sample-random.ts'
import { followFailpoints } from '../../src/failpoint.ts'
import { rowsOf } from './rows.ts'
import { named, plainly, sample, text } from './samples.ts'
import { openWorld, type Row, samples, type World } from './world.ts'

// as: a column of JSON
const evidence = (row: Row | undefined): Row => (row?.['evidence'] ?? {}) as Row

async function appRow(world: World): Promise<Row> {
  const [row = {}] = await world.sql('select * from spark_apps')
  return row
}

// ---- files ---------------------------------------------------------------------------------------------------------

test('a log says the same plain, as zstd, gzip and lz4, and in a folder of several files', async () => {
  const { id, lines } = sample('failing')
  const wanted = await plainly(lines, id, ['bytes'])
  const bytes = Buffer.from(text(lines))
  const cases: [string, (world: World) => Promise<void>][] = [
    ['lz4, as Java wrote it', (world) => world.put(sample('failing').file)],
    ['zstd', ({ logs }) => writeFile(join(logs, `${id}.zstd`), zstdCompressSync(bytes))],
    [
      'zstd of two frames',
      async ({ logs }) => {
        const half = bytes.length >> 1
        const parts = [bytes.subarray(0, half), bytes.subarray(half)].map((part) => zstdCompressSync(part))
        await writeFile(join(logs, `${id}.zstd`), Buffer.concat(parts))
      },
    ],
    ['gzip', ({ logs }) => writeFile(join(logs, `${id}.gz`), gzipSync(bytes))],
    [
      'a rolling log',
      async ({ logs }) => {
        const folder = join(logs, `eventlog_v2_${id}`)
        await mkdir(folder)
        await writeFile(join(folder, `appstatus_${id}`), '')
        await writeFile(join(folder, `events_2_${id}.zstd`), zstdCompressSync(Buffer.from(text(lines.slice(10)))))
        await writeFile(join(folder, `events_1_${id}`), text(lines.slice(0, 10)))
      },
    ],
  ]
  for (const [name, put] of cases) {
    await using world = await openWorld()
    await put(world)
    await world.follow()
    assert.deepEqual(await rowsOf(world, id, ['bytes']), wanted, name)
    assert.equal((await appRow(world))['complete'], true, name)
  }
})

test('a log that grows says what it says until then, and in the end what it would have said at once', async () => {
  const { id, lines } = sample('retries')
  const wanted = await plainly(lines, id, [])
  await using world = await openWorld()
  const open = join(world.logs, `${id}.inprogress`)
  const bytes = Buffer.from(text(lines))
  const step = Math.ceil(bytes.length / 14)
  await writeFile(open, '')
  for (let at = 0; at < bytes.length; at += step) {
    await appendFile(open, bytes.subarray(at, at + step))
    await world.follow()
    const app = await appRow(world)
    assert.equal(app['complete'], false)
    assert.ok((app['marks'] as string[]).includes('in progress'))
  }
  await rename(open, join(world.logs, id))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id, []), wanted)
  const [{ parts }] = (await world.sql('select parts from spark_event_logs')) as [{ parts: { tasks: string[] } }]
  assert.ok(parts.tasks.length <= 12, `${parts.tasks.length} files of tasks`)
})

test('a log that grows as zstd is read on from where it was', async () => {
  const { id, lines } = sample('retries')
  const wanted = await plainly(lines, id, ['bytes'])
  await using world = await openWorld()
  const open = join(world.logs, `${id}.zstd.inprogress`)
  const [first, rest] = [zstdCompressSync(text(lines.slice(0, 20))), zstdCompressSync(text(lines.slice(20)))]
  await writeFile(open, Buffer.concat([first, rest.subarray(0, 200)]))
  await world.follow()
  assert.deepEqual((await appRow(world))['marks'], ['in progress', 'no end'])
  await writeFile(open, Buffer.concat([first, rest]))
  await rename(open, join(world.logs, `${id}.zstd`))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id, ['bytes']), wanted)
})

test('of a log that was cut the whole lines count, and it says why it may not be all', async () => {
  const { id, lines } = sample('plain')
  const bytes = Buffer.from(text(lines))
  const whole = lines.slice(0, -3)
  const cut = Buffer.concat([Buffer.from(text(whole)), Buffer.from(lines.at(-3) ?? '').subarray(0, 100)])
  // as Spark packs: a frame for each time it flushes
  const frames = lines.map((line) => zstdCompressSync(`${line}\n`))
  const packed = Buffer.concat(frames)
  const damaged = Buffer.concat([...frames.slice(0, -3), Buffer.alloc(60, 0xff), ...frames.slice(-3)])
  const cases: [string, Buffer, string[], string[] | undefined][] = [
    ['last line', cut, ['last line cut', 'no end'], whole],
    ['zstd', packed.subarray(0, packed.length - 3000), ['cut', 'no end'], undefined],
    ['gzip', gzipSync(bytes).subarray(0, 9000), ['cut', 'no end'], undefined],
    ['damaged zstd', damaged, ['damaged', 'no end'], undefined],
    ['a last line without an end', Buffer.from(text(lines).trimEnd()), [], lines],
  ]
  for (const [name, content, marks, same] of cases) {
    await using world = await openWorld()
    const codec = name.includes('zstd') ? '.zstd' : name === 'gzip' ? '.gz' : ''
    await writeFile(join(world.logs, `${id}${codec}`), content)
    await world.follow()
    const app = await appRow(world)
    const said = app['marks'] as string[]
    assert.deepEqual(same === undefined ? said.filter((mark) => marks.includes(mark)) : said, marks, name)
    assert.equal(app['complete'], marks.length === 0, name)
    if (same !== undefined) assert.deepEqual(await rowsOf(world, id), await plainly(same, id), name)
    assert.equal(app['bad_lines'], 0, name)
  }
})

test('files that Spark has compacted are read where those before them are gone, and nothing that was read is lost', async () => {
  const { id, lines } = sample('plain')
  // three jobs: what Spark throws away is what it has told of jobs that ended
  const cuts = [0, 20, 30, 38, lines.length]
  const files = cuts.slice(1).map((end, i) => lines.slice(cuts[i], end))
  const kept = [...(files[0] ?? []), ...(files[1] ?? [])].filter(
    (line) => !/Task(Start|End)|Stage(Sub|Com)|Job(Start|End)/.test(line),
  )
  const put = async ({ logs }: World, names: Record<string, string[]>, status = ''): Promise<void> => {
    const folder = join(logs, `eventlog_v2_${id}`)
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
    await writeFile(join(folder, `appstatus_${id}${status}`), '')
    for (const [name, some] of Object.entries(names)) {
      const bytes = name.includes('.zstd') ? zstdCompressSync(text(some)) : text(some)
      await writeFile(join(folder, name.replace('ID', id)), bytes)
    }
  }
  const [one = [], two = [], three = [], four = []] = files
  const rest = { 'events_3_ID.zstd': three, 'events_4_ID.zstd': four }
  const said = async (world: World): Promise<[string[], number]> => {
    const app = await appRow(world)
    return [app['marks'] as string[], Number(app['jobs'])]
  }
  const wanted = await plainly(lines, id)

  // those before it are gone, and nobody has read them
  await using late = await openWorld()
  await put(late, { 'events_2_ID.zstd.compact': kept, ...rest })
  await late.follow()
  const [marks, jobs] = await said(late)
  assert.deepEqual(marks, ['compacted'])
  assert.ok(jobs < 3, `${jobs} jobs`)

  // they are still there
  await using early = await openWorld()
  await put(early, { events_1_ID: one, events_2_ID: two, 'events_2_ID.compact': kept, ...rest })
  await early.follow()
  assert.deepEqual(await said(early), [[], 3])
  assert.deepEqual(await rowsOf(early, id), wanted)

  // they were read before they went
  await using steady = await openWorld()
  await put(steady, { events_1_ID: one, events_2_ID: two, 'events_3_ID.zstd': three }, '.inprogress')
  await steady.follow()
  await put(steady, { 'events_2_ID.compact': kept, ...rest })
  await steady.follow()
  assert.deepEqual(await said(steady), [[], 3])
  assert.deepEqual(await rowsOf(steady, id), wanted)

  // of one more was written than was read
  await using behind = await openWorld()
  await put(behind, { events_1_ID: one, events_2_ID: two.slice(0, 3) }, '.inprogress')
  await behind.follow()
  await put(behind, { 'events_2_ID.compact': kept, ...rest })
  await behind.follow()
  assert.deepEqual((await said(behind))[0], ['compacted'])
})

test('lines that are no events are counted, and stop nothing', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  const bad = ['{"Event":"SparkListenerJobStart","Job', '[1, 2]', '"text"', '{"Job ID":7}', '\u0000\u0001']
  await writeFile(join(world.logs, id), text(lines.flatMap((line, i) => [line, ...bad.slice(i, i + 1)])))
  await world.follow()
  const app = await appRow(world)
  assert.deepEqual([app['lines'], app['bad_lines']], [lines.length + bad.length, bad.length])
  assert.deepEqual(app['marks'], ['lines that are no events'])
  assert.deepEqual(await rowsOf(world, id), await plainly(lines, id))
})

test('a log in place of another of its name is read from its beginning', async () => {
  const { id, lines } = sample('plain')
  await using world = await openWorld()
  await writeFile(join(world.logs, id), text(lines))
  await world.follow()
  await writeFile(join(world.logs, id), text(lines.slice(0, 20)))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id, []), await plainly(lines.slice(0, 20), id, []))
})

// ---- events --------------------------------------------------------------------------------------------------------

test('whatever order lines are in, however they are cut and however often they come, the rows are the same', async () => {
  for (const name of ['failing', 'lost', 'streaming', 'sql']) {
    const { id, lines } = sample(name)
    const wanted = await plainly(lines, id)
    for (const seed of [1, 2]) {
      const random = randomFrom(seed)
      const again = lines.filter(() => random() < 0.3)
      const shuffled = [...lines, ...again]
        .map((line) => ({ line, at: random() }))
        .sort((a, b) => a.at - b.at)
        .map(({ line }) => line)
      await using world = await openWorld()
      const path = join(world.logs, `${id}.inprogress`)
      const bytes = Buffer.from(text(shuffled))
      for (let at = 0; at < bytes.length; ) {
        const size = Math.ceil(random() * bytes.length * 0.6)
        await appendFile(path, bytes.subarray(at, at + size))
        at += size
        await world.follow()
      }
      await rename(path, join(world.logs, id))
      await world.follow()
      assert.deepEqual(await rowsOf(world, id), wanted, `${name}, seed ${seed}`)
    }
  }
})

test('a job without its start has what its end says, and its stages belong to no job', async () => {
  const { id, lines } = sample('plain')
  const without = lines.filter((line) => !(line.includes('SparkListenerJobStart') && line.includes('"Job ID":0,')))
  const { spark_jobs: jobs = [], spark_stages: stages = [] } = await plainly(without, id)
  const job = jobs.find((row) => row['job_id'] === 0) ?? {}
  assert.equal(jobs.length, 3)
  assert.deepEqual(
    [job['status'], job['started_at'], job['duration_ms'], job['stage_ids']],
    ['SUCCEEDED', null, null, []],
  )
  assert.deepEqual(
    stages
      .filter((row) => Number(row['stage_id']) < 2)
      .map((row) => [row['job_ids'], row['status'], row['completed_tasks']]),
    [
      [[], 'COMPLETE', 4],
      [[], 'COMPLETE', 3],
    ],
  )
})

test('a task that ends after its job still counts, and so does a job that ends after its application', async () => {
  const { id, lines } = sample('plain')
  const later = lines.map((line) => {
    const event = JSON.parse(line) as Row & { 'Task Info'?: Row }
    if (event['Event'] === 'SparkListenerTaskEnd' && event['Task Info']?.['Task ID'] === 0) {
      event['Task Info']['Finish Time'] = Number(event['Task Info']['Finish Time']) + 60_000
    }
    if (event['Event'] === 'SparkListenerApplicationEnd') event['Timestamp'] = Number(event['Timestamp']) - 5_000
    return JSON.stringify(event)
  })
  const { spark_jobs: jobs = [], spark_apps: apps = [] } = await plainly(later, id)
  assert.deepEqual(
    jobs.map((row) => [row['late_tasks'], row['status'], row['completed_tasks']]),
    [
      [1, 'SUCCEEDED', 7],
      [0, 'SUCCEEDED', 3],
      [0, 'SUCCEEDED', 2],
    ],
  )
  assert.ok(Number(apps[0]?.['last_event_at']) > Number(apps[0]?.['ended_at']))
})

test('two attempts of an application are two logs, and the newest answers for it', async () => {
  const { id, lines } = sample('plain')
  const { lines: others } = sample('retries')
  await using world = await openWorld()
  await writeFile(join(world.logs, `${id}_1`), text(lines))
  await writeFile(join(world.logs, `${id}_2.zstd`), zstdCompressSync(text(others)))
  await world.follow()
  const rows = await world.sql('select attempt, count(*)::int as jobs from spark_jobs group by 1 order by 1')
  assert.deepEqual(rows, [
    { attempt: '1', jobs: 3 },
    { attempt: '2', jobs: 1 },
  ])
  const jobs = async (path: string): Promise<number> => ((await world.get(path)).body as unknown[]).length
  assert.equal(await jobs(`/api/v1/applications/${id}/jobs`), 1)
  assert.equal(await jobs(`/api/v1/applications/${id}/1/jobs`), 3)
  assert.equal((await world.get(`/api/v1/applications/${id}/7/jobs`)).status, 404)
  // as: Spark's answers
  const { body: app } = await world.get(`/api/v1/applications/${id}`)
  const told = (app as { attempts: { attemptId: string }[] }).attempts
  assert.deepEqual(
    told.map(({ attemptId }) => attemptId),
    ['2', '1'],
  )
  assert.deepEqual((await world.get(`/api/v1/applications/${id}/1`)).body, told[1])
  assert.equal((await world.get(`/api/v1/applications/${id}/7`)).status, 404)
})

test('attempts of a stage are told apart, and a task that was handed in again is counted once', async () => {
  await using world = await openWorld()
  await world.put(sample('lost').file)
  await world.follow()
  const stages = await world.sql(
    'select stage_id, stage_attempt, status, failure is not null as failed from spark_stages order by 1, 2',
  )
  assert.deepEqual(stages, [
    { stage_id: 0, stage_attempt: 0, status: 'COMPLETE', failed: false },
    { stage_id: 0, stage_attempt: 1, status: 'COMPLETE', failed: false },
    { stage_id: 1, stage_attempt: 0, status: 'FAILED', failed: true },
    { stage_id: 1, stage_attempt: 1, status: 'COMPLETE', failed: false },
  ])
  const [executor] = await world.sql('select remove_reason from spark_executors where removed_at is not null')
  assert.match(String(executor?.['remove_reason'] ?? 'none was removed'), /exited|lost|none was removed/)
})

test('an application of 100,000 jobs has all of them', async () => {
  const id = 'local-9'
  const lines = ['{"Event":"SparkListenerLogStart","Spark Version":"4.0.0"}']
  lines.push(`{"Event":"SparkListenerApplicationStart","App Name":"many","App ID":"${id}","Timestamp":1000,"User":"u"}`)
  for (let job = 0; job < 100_000; job++) {
    const stage = `{"Stage ID":${job},"Stage Attempt ID":0,"Stage Name":"s","Number of Tasks":1,"RDD Info":[],"Parent IDs":[],"Details":""`
    const task = `"Task ID":${job},"Index":0,"Attempt":0,"Launch Time":${2000 + job},"Executor ID":"driver","Host":"h","Locality":"ANY"`
    lines.push(
      `{"Event":"SparkListenerJobStart","Job ID":${job},"Submission Time":${2000 + job},"Stage Infos":[${stage}}],"Stage IDs":[${job}],"Properties":{}}`,
      `{"Event":"SparkListenerTaskEnd","Stage ID":${job},"Stage Attempt ID":0,"Task Type":"ResultTask","Task End Reason":{"Reason":"Success"},"Task Info":{${task},"Finish Time":${2005 + job}},"Task Metrics":{"Executor Run Time":4}}`,
      `{"Event":"SparkListenerStageCompleted","Stage Info":${stage},"Submission Time":${2000 + job},"Completion Time":${2005 + job}}}`,
      `{"Event":"SparkListenerJobEnd","Job ID":${job},"Completion Time":${2006 + job},"Job Result":{"Result":"JobSucceeded"}}`,
    )
  }
  lines.push('{"Event":"SparkListenerApplicationEnd","Timestamp":200000}')
  await using world = await openWorld()
  await writeFile(join(world.logs, `${id}.zstd`), zstdCompressSync(text(lines)))
  await world.follow()
  const [counts] = await world.sql(`
    select count(*)::int as jobs, sum(completed_tasks)::int as tasks, min(duration_ms)::int as shortest, max(job_id) as last
    from   spark_jobs where status = 'SUCCEEDED'`)
  assert.deepEqual(counts, { jobs: 100_000, tasks: 100_000, shortest: 6, last: 99_999 })
  assert.equal(((await world.get(`/api/v1/applications/${id}/jobs`)).body as unknown[]).length, 100_000)
})

// ---- processes -----------------------------------------------------------------------------------------------------

test('a process that is killed anywhere in a transaction loses nothing and doubles nothing', async () => {
  const { id, lines } = sample('retries')
  const wanted = await plainly(lines, id, [])
  await using world = await openWorld()
  const open = join(world.logs, `${id}.inprogress`)
  let kills = 0
  for (const [i, point] of [...followFailpoints, ...followFailpoints].entries()) {
    const upTo = Math.ceil((lines.length * (i + 1)) / 7)
    await writeFile(open, text(lines.slice(0, upTo)))
    // the first transaction reads what is stored, the second writes
    kills += await followKilled(world, `${point}@2=kill`)
  }
  assert.equal(kills, followFailpoints.length * 2)
  await writeFile(open, text(lines))
  await rename(open, join(world.logs, id))
  await world.follow()
  assert.deepEqual(await rowsOf(world, id, []), wanted)
})

async function followKilled({ databaseUrl, config, logs }: World, failpoint: string): Promise<number> {
  const script = join(import.meta.dirname, 'follow-once.ts')
  const child = spawn(process.execPath, [script, databaseUrl, config.dataDirectory, logs], {
    env: { ...process.env, MILLRACE_FAILPOINT: failpoint },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [, signal] = await once(child, 'exit')
  return signal === 'SIGKILL' ? 1 : 0
}

test('two processes that read the same logs at once double nothing', async () => {
  await using world = await openWorld()
  for (const name of ['plain', 'retries', 'sql', 'skew']) await world.put(sample(name).file)
  await Promise.all([world.follow(), world.follow()])
  await world.follow()
  for (const name of ['plain', 'retries', 'sql', 'skew']) {
    const { id, lines } = sample(name)
    assert.deepEqual(await rowsOf(world, id), await plainly(lines, id), name)
  }
})

test('what cannot be read of one log keeps no other from being read', async () => {
  await using world = await openWorld()
  await writeFile(join(world.logs, 'local-1.snappy'), 'what is this')
  await writeFile(join(world.logs, 'local-0'), '')
  await world.put(sample('plain').file)
  await world.follow()
  const apps = await world.sql('select name, marks from spark_apps order by app_id')
  assert.deepEqual(apps, [
    { name: null, marks: ['no start', 'no end'] },
    { name: 'plain', marks: [] },
  ])
})

test('files that nothing refers to are removed when nobody can read them any more', async () => {
  const { id, lines } = sample('retries')
  await using world = await openWorld()
  await writeFile(join(world.logs, id), text(lines))
  await world.follow()
  const home = join(world.config.dataDirectory, 'kept', 'spark-logs-event-logs', encodeURIComponent(`${id} `))
  const before = await readdir(home)
  await writeFile(join(home, 'tasks-left-by-a-kill.parquet'), '')
  await appendFile(join(world.logs, id), '\n')
  await world.follow()
  assert.ok((await readdir(home)).includes('tasks-left-by-a-kill.parquet'), 'it may be another process at work')
  await utimes(join(home, 'tasks-left-by-a-kill.parquet'), 1, 1)
  await appendFile(join(world.logs, id), '\n')
  await world.follow()
  const after = await readdir(home)
  assert.ok(!after.includes('tasks-left-by-a-kill.parquet'))
  assert.ok(before.every((name) => after.includes(name)))
  await rm(home, { recursive: true })
})

// ---- findings ------------------------------------------------------------------------------------------------------

test('each finding has the number that says so, its formula and its evidence', async () => {
  await using world = await openWorld({ SPARK_FINDINGS: 'idle_cores=0.1, task_sizing=100000' })
  for (const { file } of Object.values(named)) await world.put(file)
  await world.follow()
  const found = async (name: string, finding: string): Promise<Row[]> =>
    await world.sql(
      'select * from spark_findings f join spark_apps a using (app_id, attempt) where a.name = $1 and finding = $2 order by about',
      [name, finding],
    )
  const cases: [string, string, (rows: Row[]) => void][] = [
    ['retries', 'retry_waste', ([row]) => assert.ok(Number(row?.['value']) > 0.05)],
    ['retries', 'success_rate', ([row]) => assert.equal(Number(row?.['value']).toFixed(3), (8 / 12).toFixed(3))],
    [
      'retries',
      'root_cause',
      (rows) => {
        assert.deepEqual(
          rows.map((row) => [row['value'], row['about']]),
          [[4, 'ExceptionFailure org.apache.spark.api.python.PythonException: ValueError: the disk of part N is away']],
        )
      },
    ],
    ['failing', 'root_cause', ([row]) => assert.match(String(row?.['says']), /ZeroDivisionError/)],
    [
      'lost',
      'root_cause',
      (rows) => {
        const first = rows.filter((row) => evidence(row)['first'] === true)
        assert.equal(first.length, 1)
        assert.match(String(first[0]?.['about']), /ExecutorLost|FetchFailed/)
      },
    ],
    ['spill', 'spill', ([row]) => assert.ok(Number(evidence(row)['disk_bytes']) > 0)],
    ['plain', 'driver_gap', ([row]) => assert.ok(Number(evidence(row)['longest_gap_ms']) >= 2000)],
    ['plain', 'idle_cores', ([row]) => assert.equal(evidence(row)['cores'], 2)],
    ['rolling', 'task_sizing', (rows) => assert.equal(rows.length, 17)],
  ]
  for (const [name, finding, judge] of cases) {
    const rows = await found(name, finding)
    assert.ok(rows.length > 0, `${finding} of ${name}`)
    judge(rows)
    for (const row of rows) {
      assert.ok(String(row['formula']).length > 10 && String(row['says']).length > 10, finding)
      assert.ok(Object.keys(evidence(row)).length > 0, finding)
    }
  }
  assert.deepEqual(await found('plain', 'root_cause'), [])
  assert.deepEqual(await found('plain', 'lost_events'), [])
})

test('a slow task with more data is skew of data, and without it a slow host', async () => {
  const { id, lines } = sample('plain')
  const slowed = (load: number): string[] =>
    lines.map((line) => {
      const event = JSON.parse(line) as Row & { 'Task Info'?: Row; 'Task Metrics'?: { 'Input Metrics': Row } }
      const task = event['Task Info']
      if (event['Event'] !== 'SparkListenerTaskEnd' || task === undefined || event['Stage ID'] !== 0) return line
      const isSlow = task['Index'] === 3
      task['Finish Time'] = Number(task['Launch Time']) + (isSlow ? 90_000 : 1_000)
      if (event['Task Metrics']) event['Task Metrics']['Input Metrics']['Bytes Read'] = isSlow ? load : 1_000_000
      return JSON.stringify(event)
    })
  for (const [load, cause] of [
    [50_000_000, 'data'],
    [1_000_000, 'host'],
  ] as const) {
    const { spark_findings: findings = [] } = await plainly(slowed(load), id)
    const skew = findings.find((row) => row['finding'] === 'skew')
    assert.equal(skew?.['value'], 90)
    assert.equal(evidence(skew)['cause'], cause)
  }
})

test('tasks whose end is in no line are found, and how much cores cost is told', async () => {
  const { id, lines } = sample('plain')
  const lost = lines.filter((line) => !(line.includes('SparkListenerTaskEnd') && line.includes('"Task ID":2,')))
  await using world = await openWorld({ SPARK_CORE_HOUR_PRICE: '2.5' })
  await writeFile(join(world.logs, id), text(lost))
  await world.follow()
  const [finding] = await world.sql(`select value, evidence from spark_findings where finding = 'lost_events'`)
  assert.deepEqual(finding, { value: 1, evidence: { stages: [{ stage: '0.0', tasks: 4, ended: 3 }] } })
  const app = await appRow(world)
  const [executor = {}] = await world.sql('select added_at from spark_executors')
  const hours = (2 * (Number(app['ended_at']) - Number(executor['added_at']))) / 3_600_000
  assert.ok(Math.abs(Number(app['core_hours']) - hours) < 1e-9)
  assert.ok(Math.abs(Number(app['cost']) - hours * 2.5) < 1e-9)
})

test('a threshold that nobody knows, or that is no number, is refused with those that there are', async () => {
  for (const given of ['skw=3', 'skew=much', 'skew=-1', 'skew']) {
    await using world = await openWorld({ SPARK_FINDINGS: given })
    await world.put(sample('plain').file)
    await assert.rejects(world.follow(), /is no threshold.*lost_events, success_rate/s, given)
  }
})

// ---- answers -------------------------------------------------------------------------------------------------------

test('the log of an application is given away as a zip of its files', async () => {
  await using world = await openWorld()
  const { file, id } = sample('plain')
  await world.put(file)
  await world.follow()
  const { status, type, text: zip } = await world.get(`/api/v1/applications/${id}/logs`)
  assert.deepEqual([status, type, zip.slice(0, 2)], [200, 'application/octet-stream', 'PK'])
  assert.ok(zip.includes(await readFile(join(samples, file), 'utf8')), 'the file is in it as it is')
  assert.equal((await world.get('/api/v1/applications/nobody/logs')).status, 404)
})

test('applications are found by id, name and user, and jobs by their application', async () => {
  await using world = await openWorld()
  for (const name of ['plain', 'failing', 'killed']) await world.put(sample(name).file)
  await world.follow()
  const rows = async (query: string): Promise<Row[]> =>
    ((await world.get(`/api/results/spark-logs/${query}`)).body as { rows: Row[] }).rows
  const names = async (query: string): Promise<unknown[]> => (await rows(query)).map((row) => row['name']).sort()
  assert.deepEqual(await names('applications'), ['failing', 'killed', 'plain'])
  assert.deepEqual(await names(`applications?id=${sample('plain').id.slice(-6)}`), ['plain'])
  assert.deepEqual(await names('applications?id=FAIL'), ['failing'])
  assert.deepEqual(await names('applications?user=nobody'), [])
  const jobs = await rows(`application-jobs?app=${sample('failing').id}`)
  assert.deepEqual(
    jobs.map((row) => [row['job_id'], row['status']]),
    [
      [1, 'SUCCEEDED'],
      [0, 'FAILED'],
    ],
  )
  const [killed] = (await rows('applications?id=killed')).map((row) => row['state'])
  assert.equal(killed, 'in progress, no end')
  assert.ok((await rows(`stages?app=${sample('failing').id}&job=0`)).every((row) => row['status'] === 'FAILED'))
  assert.ok((await rows(`durations?app=${sample('failing').id}`)).length === 2)
})

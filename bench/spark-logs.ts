/** A log of a real Spark, made long: from the file to rows in Postgres, beside the first answer of the History Server. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noHistoryServer, openHistoryServer } from '../test/spark-logs/history-server.ts'
import { openWorld, samples, type World } from '../test/spark-logs/world.ts'
import { machine, median, printTable, saveResult } from './report.ts'

export interface SparkLogsOptions {
  root: string
  megabytes: number
  rounds: number
}

const appId = 'local-1000000000000'

export async function benchSparkLogs({ root, megabytes, rounds }: SparkLogsOptions): Promise<void> {
  const room = await mkdtemp(join(tmpdir(), 'millrace-bench-logs-'))
  try {
    const logs = join(room, 'logs')
    await mkdir(logs)
    const path = join(logs, appId)
    const jobs = await writeLog(path, megabytes * 1_000_000)
    const bytes = (await stat(path)).size
    const runs = []
    for (let round = 1; round <= rounds; round++) {
      const ours = await millrace(logs)
      if (ours.jobs !== jobs) throw new Error(`${ours.jobs} of ${jobs} jobs landed`)
      const theirs = noHistoryServer === false ? await historyServer(logs, room) : undefined
      runs.push({ round, ...ours, theirs })
      process.stderr.write(`round ${round}: ${ours.seconds.toFixed(2)} s, ${Math.round(ours.rss / 1e6)} MB; `)
      process.stderr.write(
        theirs === undefined ? `${noHistoryServer}\n` : `${theirs.seconds.toFixed(2)} s, ${theirs.jobs} jobs\n`,
      )
    }
    const list = await listOfMany()
    const ratios = runs.flatMap(({ seconds, theirs }) => (theirs === undefined ? [] : [theirs.seconds / seconds]))
    printTable(
      ['log', 'jobs', 'Millrace s', 'RSS MB', 'History Server s', 'its jobs', 'ratio', '500 applications ms'],
      [
        [
          `${Math.round(bytes / 1e6)} MB`,
          String(jobs),
          median(runs.map((run) => run.seconds)).toFixed(2),
          String(Math.round(Math.max(...runs.map((run) => run.rss)) / 1e6)),
          ratios.length === 0 ? '' : median(runs.map((run) => run.theirs?.seconds ?? 0)).toFixed(2),
          String(runs[0]?.theirs?.jobs ?? ''),
          ratios.length === 0 ? '' : median(ratios).toFixed(1),
          String(Math.round(list)),
        ],
      ],
    )
    await saveResult(join(root, 'bench'), `spark-logs-${megabytes}`, {
      machine: machine(),
      bytes,
      jobs,
      runs,
      list,
      ratios,
    })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

const ofJobs = ['JobStart', 'JobEnd', 'StageSubmitted', 'StageCompleted', 'TaskStart', 'TaskEnd']

// The first job of a sample again and again, with ids of its own.
async function writeLog(path: string, bytes: number): Promise<number> {
  const lines = (await readFile(await samplePath(), 'utf8')).trimEnd().split('\n')
  const events = lines.map((line) => JSON.parse(line) as { Event: string })
  const isOfJobs = ({ Event }: { Event: string }): boolean => ofJobs.some((name) => Event === `SparkListener${name}`)
  const from = lines.findIndex((line) => line.includes('SparkListenerJobStart'))
  const to = lines.findIndex((line) => line.includes('SparkListenerJobEnd'))
  const template = lines.slice(from, to + 1).join('\n')
  const parts = template
    .replace(/"Job ID":0/g, '"Job ID":\u0001J0\u0001')
    .replace(/"Stage IDs":\[0,1\]/g, '"Stage IDs":[\u0001S0\u0001,\u0001S1\u0001]')
    .replace(/"Stage ID":([01])/g, '"Stage ID":\u0001S$1\u0001')
    .replace(/"Parent IDs":\[0\],"Details"/g, '"Parent IDs":[\u0001S0\u0001],"Details"')
    .replace(/"Task ID":(\d+)/g, '"Task ID":\u0001T$1\u0001')
    .split('\u0001')
  const tasks = new Set([...template.matchAll(/"Task ID":(\d+)/g)].map(([, id]) => id)).size
  const file = createWriteStream(path)
  const write = async (text: string): Promise<void> => {
    if (!file.write(text)) await once(file, 'drain')
  }
  const head = lines.filter((_, i) => !isOfJobs(events[i] ?? { Event: '' }))
  const sampleId = /"App ID":"([^"]+)"/.exec(head.join('\n'))?.[1] ?? ''
  const renamed = head.map((line) => line.replaceAll(sampleId, appId))
  const end = renamed.pop() ?? ''
  await write(`${renamed.join('\n')}\n`)
  let [written, jobs] = [0, 0]
  for (; written < bytes; jobs++) {
    const each: Record<string, number> = { J: jobs, S: jobs * 2, T: jobs * tasks }
    const job = parts.map((part, i) =>
      i % 2 === 0 ? part : String((each[part[0] ?? ''] ?? 0) + Number(part.slice(1))),
    )
    const text = `${job.join('')}\n`
    await write(text)
    written += text.length
  }
  await write(`${end}\n`)
  file.end()
  await once(file, 'close')
  return jobs
}

async function samplePath(): Promise<string> {
  for (const name of (await readdir(samples)).sort()) {
    if (/^local-\d+$/.test(name)) return join(samples, name)
  }
  throw new Error('there is no plain sample')
}

async function millrace(logs: string): Promise<{ seconds: number; rss: number; jobs: number }> {
  await using world = await openWorld()
  const script = join(import.meta.dirname, '../test/spark-logs/follow-once.ts')
  const started = performance.now()
  const child = spawn(process.execPath, [script, world.databaseUrl, world.config.dataDirectory, logs], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const [code] = await once(child, 'close')
  const seconds = (performance.now() - started) / 1000
  if (code !== 0) throw new Error(`it ended with ${code}`)
  const [row] = await world.sql('select count(*)::int as jobs from spark_jobs')
  return { seconds, rss: Number(said), jobs: Number(row?.['jobs']) }
}

async function historyServer(logs: string, scratch: string): Promise<{ seconds: number; jobs: number }> {
  const started = performance.now()
  await using server = await openHistoryServer(logs, scratch, 1)
  const { status, body } = await server.get(`/api/v1/applications/${appId}/jobs`)
  if (status !== 200) throw new Error(`the History Server answered ${status}`)
  return { seconds: (performance.now() - started) / 1000, jobs: (body as unknown[]).length }
}

// Milliseconds of the list, the median of ten.
async function listOfMany(): Promise<number> {
  await using world: World = await openWorld()
  await cp(await samplePath(), join(world.logs, 'local-1'))
  await world.follow()
  await world.store.write('spark-logs', async ({ sql }) => {
    for (const table of ['spark_apps', 'spark_event_logs']) {
      await sql(`create temp table one on commit drop as select * from ${table}`)
      await sql(`
        insert into ${table}
        select (json_populate_record(one, json_build_object('app_id', 'local-' || n))).*
        from   one, generate_series(2, 500) n`)
      await sql('drop table one')
    }
  })
  const times: number[] = []
  for (let n = 0; n < 10; n++) {
    const started = performance.now()
    const { body } = await world.get('/api/v1/applications')
    if ((body as unknown[]).length !== 500) throw new Error('not all applications are listed')
    times.push(performance.now() - started)
  }
  return median(times)
}

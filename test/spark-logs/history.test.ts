/**
 * What `/api/v1` answers beside what Spark's own History Server answers over the same logs, field by field: its answers
 * are recorded here, and asked anew where Spark is installed. `MILLRACE_SPARK_ANSWERS=write` records them.
 */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { findLogs } from '../../pipelines/spark-logs/event-logs/logs.ts'
import { noHistoryServer, openHistoryServer } from './history-server.ts'
import { openWorld, samples, type World } from './world.ts'

type Get = (path: string) => Promise<{ status: number; body: unknown }>
type Answers = Record<string, { status: number; body: unknown }>

const recorded = join(import.meta.dirname, 'answers.json.gz')

interface Difference {
  /** The address and the place in its answer. */
  at: RegExp
  says: string
}

/** Fields that are meant to differ. Each is seen in some answer. */
const differences: Difference[] = [
  { at: /(lastUpdated|lastUpdatedEpoch)$/, says: 'it is when the log was read, and each reads at another time' },
  { at: /(peakMemoryMetrics|peakExecutorMetrics)\b/, says: 'peaks of executors are not kept' },
  { at: /executors\.\d+\.totalGCTime$/, says: 'of a driver Spark tells a peak, and not what its tasks measured' },
  {
    at: /allexecutors\.1\.(activeTasks|failedTasks|totalDuration)$/,
    says: 'what an executor ran when it was lost is counted, though the line that tells it comes after its end',
  },
  { at: /\/sql.*\.(nodes|edges)\b/, says: 'nodes have no metrics, and what leads to what is not told' },
  { at: /(tasks\.\d+|taskList.*)\.accumulatorUpdates\b/, says: 'accumulators are kept for stages, not for tasks' },
]

/** Those of applications in which something happened. */
async function differencesIn({ sql }: World): Promise<Difference[]> {
  const alternatives = async (statement: string): Promise<string> =>
    (await sql(statement)).map(({ address }) => String(address)).join('|')
  const late = await alternatives('select distinct app_id as address from spark_jobs where late_tasks > 0')
  const failed = await alternatives(`
    select app_id || '/stages/' || stage_id || '/' || stage_attempt as address
    from   spark_stages where failed_tasks + killed_tasks > 0`)
  const running = await alternatives('select app_id as address from spark_apps where ended_at is null')
  return [
    {
      at: new RegExp(
        `(${late})/(jobs|stages).*(num(Active|Killed|Failed|Complete|Completed)(Tasks|Indices)|killedTasksSummary|Time$|executorSummary)`,
      ),
      says: 'a task that ends after its job counts',
    },
    {
      at: new RegExp(`(${failed})/taskSummary.*\\.(duration|schedulerDelay)\\.`),
      says: 'how long tasks take is told of those that did well; Spark takes as many of all',
    },
    {
      at: new RegExp(`(${running})/(all)?executors\\.0\\.totalDuration`),
      says: 'a driver that was killed does not run until now',
    },
  ]
}

test('every field that the History Server answers is answered the same, but for those that are meant to differ', {
  timeout: 10 * 60_000,
}, async () => {
  await using world = await sampled()
  const theirs = JSON.parse(gunzipSync(await readFile(recorded)).toString('utf8')) as Answers
  same(await answers(world.get, Object.keys(theirs)), theirs, [...differences, ...(await differencesIn(world))])
})

test('an installed History Server answers what was recorded of it', {
  skip: noHistoryServer,
  timeout: 10 * 60_000,
}, async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'millrace-history-'))
  try {
    const { logs } = await findLogs(samples)
    await using server = await openHistoryServer(samples, scratch, logs.length)
    const paths = await pathsOf(server.get)
    const live = await answers(server.get, paths)
    if (process.env['MILLRACE_SPARK_ANSWERS'] === 'write') {
      await writeFile(recorded, gzipSync(JSON.stringify(live), { level: 9 }))
    }
    const before = JSON.parse(gunzipSync(await readFile(recorded)).toString('utf8')) as Answers
    const told = [...differences, { at: /totalDuration$/, says: 'of a driver that was killed it is counted until now' }]
    assert.deepEqual(fieldsOf(live, told), fieldsOf(before, told))
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
})

async function sampled(): Promise<World> {
  const world = await openWorld({ SPARK_EVENT_LOG_DIR: samples })
  await world.follow()
  return world
}

async function answers(get: Get, paths: string[]): Promise<Answers> {
  const all: Answers = {}
  for (const path of paths) {
    const { status, body } = await get(path)
    all[path] = { status, body: body ?? null }
  }
  return all
}

// Everything that is asked of each application.
async function pathsOf(get: Get): Promise<string[]> {
  const { body } = await get('/api/v1/applications')
  const paths = ['/api/v1/applications', '/api/v1/applications?status=completed', '/api/v1/applications?limit=2']
  for (const { id, attempts } of body as { id: string; attempts: { attemptId?: string }[] }[]) {
    const app = `/api/v1/applications/${id}`
    const attempt = attempts[0]?.attemptId
    const base = attempt === undefined ? app : `${app}/${attempt}`
    paths.push(
      app,
      ...['jobs', 'stages', 'executors', 'allexecutors', 'environment', 'sql'].map((of) => `${base}/${of}`),
    )
    paths.push(`${base}/jobs?status=failed`, `${base}/stages?status=complete`, `${base}/sql?details=false&length=3`)
    const stages = (await get(`${base}/stages`)).body as { stageId: number; attemptId: number; status: string }[]
    const few = stages.filter(({ stageId }) => stageId < 8)
    for (const { stageId, attemptId } of few.slice(0, 8)) {
      paths.push(`${base}/stages/${stageId}?details=false`)
      const stage = `${base}/stages/${stageId}/${attemptId}`
      paths.push(stage, `${stage}/taskList?length=30`, `${stage}/taskList?offset=1&length=2`)
      paths.push(`${stage}/taskSummary`, `${stage}/taskSummary?quantiles=0,0.1,1`)
    }
  }
  return [...new Set(paths)]
}

// By place; texts that come with a status other than 200 are told in other words.
function fieldsOf(all: Answers, without: Difference[] = []): Map<string, unknown> {
  const fields = new Map<string, unknown>()
  const add = (place: string, value: unknown): void => {
    if (without.some(({ at }) => at.test(place))) return
    if (Array.isArray(value)) {
      fields.set(`${place}.length`, value.length)
      for (const [i, each] of value.entries()) add(`${place}.${i}`, each)
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, each] of Object.entries(value)) add(`${place}.${name}`, each)
    } else fields.set(place, value)
  }
  for (const [path, { status, body }] of Object.entries(all)) {
    add(`${path} status`, status)
    if (status === 200) add(path, body)
  }
  return new Map([...fields].sort(([a], [b]) => (a < b ? -1 : 1)))
}

function same(ours: Answers, theirs: Answers, meant: Difference[]): void {
  const [all, own] = [fieldsOf(theirs), fieldsOf(ours, meant)]
  const wanted = fieldsOf(theirs, meant)
  const wrong: string[] = []
  for (const [place, value] of wanted) {
    if (own.get(place) !== value)
      wrong.push(`${place}: ${JSON.stringify(own.get(place))} is not ${JSON.stringify(value)}`)
  }
  for (const place of own.keys()) if (!wanted.has(place)) wrong.push(`${place}: it is not there`)
  assert.deepEqual(wrong.slice(0, 60), [], `${wrong.length} of ${wanted.size} fields`)
  assert.ok(wanted.size > 10_000, `${wanted.size} fields`)
  for (const { at, says } of meant) {
    assert.ok(
      [...all.keys()].some((place) => at.test(place)),
      `nothing differs any more: ${says}`,
    )
  }
}

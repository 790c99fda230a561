/** `/api/v1`: what clients of Spark's History Server ask, answered from the tables. Long because it is a list. */
import { join } from 'node:path'
import type { GetRoute, PostAnswer, RouteTools } from 'millrace'
import {
  appOf,
  attemptOf,
  environmentOf,
  executionOf,
  executorOf,
  jobOf,
  type Row,
  type StageTexts,
  stageOf,
  taskOf,
} from './api-json.ts'
import { eventLogFollower } from './follow.ts'
import { kept, stageTexts } from './kept.ts'
import { findLogs } from './logs.ts'
import { quantilesOf } from './quantiles.ts'
import { mostZipBytes, zipOf } from './zip.ts'

type Query = Record<string, string | number>

/** What is answered when there is no such thing: a text, as Spark does. */
class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

interface Asked {
  /** Of the attempt that was named, or the newest. */
  app: Row
  params: Record<string, string>
  query: Query
  tools: RouteTools
}

interface Address {
  path: string
  says: string
  query?: Record<string, string>
  answer(asked: Asked): Promise<unknown>
}

const ofApp: Address[] = [
  {
    path: '/jobs',
    says: 'The jobs of an application, the newest first: all of them',
    query: { status: 'running, succeeded, failed or unknown; several with commas' },
    async answer({ app, query, tools }) {
      const rows = await tools.sql(
        `
        select * from spark_jobs
        where  app_id = $1 and attempt = $2 and ($3::text[] is null or status = any($3))
        order by job_id desc`,
        [...keyOf(app), wanted(query['status'], ['RUNNING', 'SUCCEEDED', 'FAILED', 'UNKNOWN'])],
      )
      return rows.map(jobOf)
    },
  },
  {
    path: '/jobs/:job',
    says: 'A job',
    async answer({ app, params, tools }) {
      const [row] = await tools.sql('select * from spark_jobs where app_id = $1 and attempt = $2 and job_id = $3', [
        ...keyOf(app),
        whole(params['job'], 'job'),
      ])
      if (row === undefined) throw new Refused(404, `unknown job: ${params['job']}`)
      return jobOf(row)
    },
  },
  {
    path: '/stages',
    says: 'The stages of an application, the newest first, with each of their attempts',
    query: { status: 'active, complete, pending, failed or skipped; several with commas' },
    async answer({ app, query, tools }) {
      const rows = await tools.sql(
        `
        select * from spark_stages
        where  app_id = $1 and attempt = $2 and ($3::text[] is null or status = any($3))
        order by stage_id desc, stage_attempt desc`,
        [...keyOf(app), wanted(query['status'], ['ACTIVE', 'COMPLETE', 'PENDING', 'FAILED', 'SKIPPED'])],
      )
      const texts = await textsOf(tools, app, rows)
      return rows.map((row) => stageOf(row, texts))
    },
  },
  {
    path: '/stages/:stage',
    says: 'The attempts of a stage, with their tasks',
    query: { details: 'false: without tasks and executors' },
    async answer({ app, params, query, tools }) {
      const rows = await tools.sql(
        'select * from spark_stages where app_id = $1 and attempt = $2 and stage_id = $3 order by stage_attempt',
        [...keyOf(app), whole(params['stage'], 'stage')],
      )
      if (rows.length === 0) throw new Refused(404, `unknown stage: ${params['stage']}`)
      return await Promise.all(rows.map((row) => stageWith(tools, app, row, query['details'] !== 'false')))
    },
  },
  {
    path: '/stages/:stage/:stage_attempt',
    says: 'An attempt of a stage, with its tasks',
    query: { details: 'false: without tasks and executors' },
    async answer({ app, params, query, tools }) {
      return await stageWith(tools, app, await stageRow(tools, app, params), query['details'] !== 'false')
    },
  },
  {
    path: '/stages/:stage/:stage_attempt/taskSummary',
    says: 'How the metrics of the tasks of a stage are distributed',
    query: { quantiles: 'shares from 0 to 1, with commas' },
    async answer({ app, params, query, tools }) {
      const shares = String(query['quantiles'] || '0.05,0.25,0.5,0.75,0.95').split(',')
      const quantiles = shares.map((share) => {
        if (share.trim() !== '' && Number.isFinite(Number(share))) return Number(share)
        throw new Refused(422, `Bad value for parameter "quantiles".  Expected a double, got "${share}"`)
      })
      const row = await stageRow(tools, app, params)
      const from = await tasksOf(tools, app, row)
      const summary = await quantilesOf((select) => files(tools, select), from, quantiles)
      if (summary === undefined) throw new Refused(404, 'No tasks reported metrics yet.')
      return summary
    },
  },
  {
    path: '/stages/:stage/:stage_attempt/taskList',
    says: 'Tasks of a stage',
    query: {
      offset: 'so many are left out',
      length: 'so many at most',
      sortBy: 'ID, INCREASING_RUNTIME or DECREASING_RUNTIME',
      status: 'running, success, killed, failed or unknown; several with commas',
    },
    async answer({ app, params, query, tools }) {
      const orders: Record<string, string> = {
        ID: 'task_id',
        INCREASING_RUNTIME: 'executor_run_ms, task_id',
        DECREASING_RUNTIME: 'executor_run_ms desc, task_id',
      }
      const order = orders[String(query['sortBy'] || 'ID').toUpperCase()]
      if (order === undefined) throw new Refused(404, `unknown order: ${query['sortBy']}`)
      const statuses = wanted(query['status'], ['RUNNING', 'SUCCESS', 'FAILED', 'KILLED', 'UNKNOWN'])
      const row = await stageRow(tools, app, params)
      const tasks = await tasksIn(tools, app, row, {
        order,
        offset: whole(query['offset'] || '0', 'offset'),
        length: whole(query['length'] || '20', 'length'),
        statuses,
      })
      return tasks
    },
  },
  {
    path: '/executors',
    says: 'The executors that are active',
    async answer(asked) {
      const active = (await executors(asked)).filter(({ isActive }) => isActive === true)
      return active.sort((a, b) => Number(b['id'] === 'driver') - Number(a['id'] === 'driver'))
    },
  },
  { path: '/allexecutors', says: 'All executors, also those that were removed', answer: executors },
  {
    path: '/environment',
    says: 'What an application was started with',
    async answer({ app, tools }) {
      const [row] = await tools.sql('select info from spark_apps where app_id = $1 and attempt = $2', keyOf(app))
      return environmentOf(row?.['info'])
    },
  },
  {
    path: '/sql',
    says: 'Queries',
    query: {
      details: 'false: without nodes',
      planDescription: 'false: without plans',
      offset: 'so many are left out',
      length: 'so many at most',
    },
    async answer({ app, query, tools }) {
      const rows = await tools.sql(
        'select * from spark_sql where app_id = $1 and attempt = $2 order by execution_id offset $3 limit $4',
        [...keyOf(app), whole(query['offset'] || '0', 'offset'), whole(query['length'] || '20', 'length')],
      )
      const told = { details: query['details'] !== 'false', plan: query['planDescription'] !== 'false' }
      return rows.map((row) => executionOf(row, told))
    },
  },
  {
    path: '/sql/:execution',
    says: 'A query',
    query: { details: 'false: without nodes', planDescription: 'false: without its plan' },
    async answer({ app, params, query, tools }) {
      const [row] = await tools.sql(
        'select * from spark_sql where app_id = $1 and attempt = $2 and execution_id = $3',
        [...keyOf(app), whole(params['execution'], 'query')],
      )
      if (row === undefined) throw new Refused(404, `unknown query execution id: ${params['execution']}`)
      return executionOf(row, { details: query['details'] !== 'false', plan: query['planDescription'] !== 'false' })
    },
  },
]

const textQuery = (names: Record<string, string>): NonNullable<GetRoute['query']> =>
  Object.fromEntries(
    Object.entries(names).map(([name, says]) => [name, { type: 'string', maxLength: 1000, default: '', says }]),
  )

const parameters: Record<string, string> = {
  app: 'the id of an application',
  attempt: 'the number of its attempt',
}

/** All of `/api/v1`, for an application and for one of its attempts. */
export const apiRoutes: GetRoute[] = addresses().map(told)

function addresses(): PlainRoute[] {
  return [
    {
      path: '/api/v1/version',
      says: 'The newest version of Spark of which there is a log',
      async handle(_, { sql }) {
        const [row] = await sql('select spark_version from spark_apps order by started_at desc nulls last limit 1')
        return { body: { spark: row?.['spark_version'] ?? '4.0.0' } }
      },
    },
    {
      path: '/api/v1/applications',
      says: 'The applications, the one that ended last first; those that have not ended come last',
      query: textQuery({
        status: 'completed or running; without it both',
        minDate: 'started at this time or later',
        maxDate: 'started at this time or earlier',
        minEndDate: 'ended at this time or later',
        maxEndDate: 'ended at this time or earlier',
        limit: 'so many at most',
      }),
      handle: ({ query }, tools) => answered(async () => await applications(query, tools)),
    },
    {
      path: '/api/v1/applications/:app',
      says: 'An application, with its attempts',
      handle: ({ params }, tools) => answered(async () => appOf(await attempts(tools, params['app'] ?? ''))),
    },
    {
      path: '/api/v1/applications/:app/logs',
      says: 'The log of an application, as a zip of its files',
      handle: ({ params }, tools) => logs(tools, params),
    },
    {
      path: '/api/v1/applications/:app/:attempt/logs',
      says: 'The log of an attempt, as a zip of its files',
      handle: ({ params }, tools) => logs(tools, params),
    },
    route({ path: '', says: 'An application', answer: async ({ app }) => attemptOf(app) }, '/:attempt'),
    ...ofApp.flatMap((address) => [route(address, ''), route(address, '/:attempt')]),
  ]
}

/** An address as it is written here; what is the same of all is added. */
type PlainRoute = Omit<GetRoute, 'answers' | 'params' | 'lenient'>

function told(asked: PlainRoute): GetRoute {
  const names = [...asked.path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  return {
    ...asked,
    params: Object.fromEntries(names.map((name) => [name, parameters[name] ?? `which ${name}`])),
    lenient: true,
    answers: {
      200: {
        says: 'What was asked for.',
        ...(asked.path.endsWith('/logs') ? { type: 'application/octet-stream' } : {}),
      },
      422: { says: 'What was asked for makes no sense, in words.', type: 'text/plain' },
      404: { says: 'There is no such thing, in words.', type: 'text/plain' },
    },
  }
}

function route({ path, says, query = {}, answer }: Address, attempt: string): PlainRoute {
  return {
    path: `/api/v1/applications/:app${attempt}${path}`,
    says: attempt === '' ? says : `${says}, of an attempt`,
    query: textQuery(query),
    handle: ({ params, query }, tools) =>
      answered(async () => {
        const all = await attempts(tools, params['app'] ?? '')
        const app = params['attempt'] === undefined ? all[0] : all.find((row) => row['attempt'] === params['attempt'])
        if (app === undefined) {
          throw new Refused(404, `unknown app ${params['app']}, attempt ${params['attempt']}`)
        }
        return await answer({ app, params, query, tools })
      }),
  }
}

async function answered(answer: () => Promise<unknown>): Promise<PostAnswer> {
  try {
    return { body: await answer() }
  } catch (error) {
    if (error instanceof Refused) return { status: error.status, type: 'text/plain', body: error.message }
    throw error
  }
}

const keyOf = (app: Row): unknown[] => [app['app_id'], app['attempt']]

const appColumns = `app_id, attempt, name, "user", spark_version, started_at, ended_at, duration_ms, read_at`

async function attempts({ sql }: RouteTools, appId: string): Promise<Row[]> {
  const rows = await sql(
    `
    select ${appColumns}
    from   spark_apps join spark_event_logs using (app_id, attempt)
    where  app_id = $1
    order by length(attempt) desc, attempt desc`,
    [appId],
  )
  if (rows.length === 0) throw new Refused(404, `unknown app: ${appId}`)
  return rows
}

async function applications(query: Query, { sql }: RouteTools): Promise<Row[]> {
  const statuses = wanted(query['status'], ['COMPLETED', 'RUNNING'])
  const dates = ['minDate', 'maxDate', 'minEndDate', 'maxEndDate'].map((name) => dateIn(query[name]))
  const limit = query['limit'] === undefined || query['limit'] === '' ? null : whole(query['limit'], 'limit')
  const rows = await sql(
    `
    with chosen as (
      -- an application is chosen when one of its attempts is; the end of one that runs is now
      select app_id, max(ended_at) as newest, max(started_at) as started
      from   spark_apps
      where  ($1::text[] is null or (case when ended_at is null then 'RUNNING' else 'COMPLETED' end) = any($1))
      and    ($2::timestamptz is null or started_at >= $2)
      and    ($3::timestamptz is null or started_at <= $3)
      and    ($4::timestamptz is null or coalesce(ended_at, now()) >= $4)
      and    ($5::timestamptz is null or coalesce(ended_at, now()) <= $5)
      group by app_id
      order by newest desc nulls last, started desc nulls last, app_id desc
      limit  $6
    )
    select ${appColumns}
    from   chosen
    join   spark_apps using (app_id)
    join   spark_event_logs using (app_id, attempt)
    order by newest desc nulls last, started desc nulls last, app_id desc, length(attempt) desc, attempt desc`,
    [statuses, ...dates, limit],
  )
  const apps = new Map<unknown, Row[]>()
  for (const row of rows) apps.set(row['app_id'], [...(apps.get(row['app_id']) ?? []), row])
  return [...apps.values()].map(appOf)
}

// `2026-11-21` or `2026-11-21T01:39:01.587GMT`
function dateIn(value: string | number | undefined): Date | null {
  if (value === undefined || value === '') return null
  const text = String(value)
  const known = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}\.\d{3}(GMT|Z))?$/.test(text)
  const date = new Date(text.replace('GMT', 'Z'))
  if (!known || Number.isNaN(date.getTime())) throw new Refused(422, `Couldn't parse date: ${text}`)
  return date
}

// Null stands for all.
function wanted(value: string | number | undefined, known: string[]): string[] | null {
  if (value === undefined || value === '') return null
  const names = String(value).toUpperCase().split(',')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Refused(404, `unknown status: ${unknown}`)
  return names
}

function whole(value: string | number | undefined, what: string): number {
  const text = String(value)
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new Refused(404, `unknown ${what}: ${text}`)
}

async function executors({ app, tools }: Asked): Promise<Row[]> {
  const rows = await tools.sql(
    'select * from spark_executors where app_id = $1 and attempt = $2 order by executor collate "C"',
    keyOf(app),
  )
  return rows.map((row) => executorOf(row, app))
}

// ---- tasks, from Parquet -------------------------------------------------------------------------------------------

// What is long of these stages.
async function textsOf(tools: RouteTools, app: Row, stages: Row[]): Promise<StageTexts> {
  const from = stages.length === 0 ? undefined : await kept(tools, 'events', app['app_id'], app['attempt'])
  if (from === undefined) return () => ({})
  const ids = new Set(stages.map((stage) => Number(stage['stage_id'])))
  const [only] = ids
  const rows = await files(tools, (folder) => stageTexts(from(folder), ids.size === 1 ? only : undefined))
  const found = new Map(rows.map((row) => [`${row['stage_id']}.${row['stage_attempt']}`, row]))
  return (stage) => found.get(`${stage['stage_id']}.${stage['stage_attempt']}`) ?? {}
}

async function stageRow({ sql }: RouteTools, app: Row, params: Record<string, string>): Promise<Row> {
  const stage = whole(params['stage'], 'stage')
  const attempt = whole(params['stage_attempt'], 'attempt')
  const rows = await sql('select * from spark_stages where app_id = $1 and attempt = $2 and stage_id = $3', [
    ...keyOf(app),
    stage,
  ])
  const row = rows.find((each) => each['stage_attempt'] === attempt)
  if (row !== undefined) return row
  if (rows.length === 0) throw new Refused(404, `unknown stage: ${stage}`)
  const known = rows.map((each) => each['stage_attempt']).join(', ')
  throw new Refused(404, `unknown attempt for stage ${stage}.  Found attempts: [${known}]`)
}

const files = (tools: RouteTools, select: (folder: string) => string): Promise<Row[]> =>
  tools.files(eventLogFollower.name, select)

/** What a select has after `from`: the last word on each task of a stage, its end if it has one. */
async function tasksOf(tools: RouteTools, app: Row, stage: Row): Promise<(folder: string) => string> {
  const from = await kept(tools, 'tasks', app['app_id'], app['attempt'])
  return (folder) => `(
      select distinct on (task_id) *
      from   ${from?.(folder) ?? `read_parquet([])`}
      where  stage_id = ${stage['stage_id']} and stage_attempt = ${stage['stage_attempt']}
      -- one that was handed in again has done well before
      order by task_id, coalesce(reason <> 'Resubmitted', false) desc, ended desc)`
}

interface TasksWanted {
  order: string
  offset: number
  length: number
  statuses: string[] | null
}

const taskStatus = `case when reason is null then 'RUNNING' when reason = 'Success' then 'SUCCESS'
  when reason in ('TaskKilled', 'TaskCommitDenied') then 'KILLED' else 'FAILED' end`

async function tasksIn(tools: RouteTools, app: Row, stage: Row, { order, offset, length, statuses }: TasksWanted) {
  const from = await tasksOf(tools, app, stage)
  const chosen = statuses === null ? '' : `where ${taskStatus} in (${statuses.map((each) => `'${each}'`).join(', ')})`
  const rows = await files(
    tools,
    (folder) => `select * from ${from(folder)} ${chosen} order by ${order} limit ${length} offset ${offset}`,
  )
  const logs = await executorLogs(tools, app)
  return rows.map((row) => taskOf(row, logs))
}

async function executorLogs({ sql }: RouteTools, app: Row): Promise<Record<string, unknown>> {
  const rows = await sql(
    `select executor, info->'Log Urls' as logs from spark_executors where app_id = $1 and attempt = $2`,
    keyOf(app),
  )
  return Object.fromEntries(rows.map(({ executor, logs }) => [executor, logs]))
}

async function stageWith(tools: RouteTools, app: Row, row: Row, details: boolean): Promise<Row> {
  const texts = await textsOf(tools, app, [row])
  if (!details) return stageOf(row, texts)
  const all = { order: 'task_id', offset: 0, length: 1_000_000, statuses: null }
  const tasks = await tasksIn(tools, app, row, all)
  const from = await tasksOf(tools, app, row)
  const summaries = await files(tools, (folder) => executorSummaries(from(folder)))
  return {
    ...stageOf(row, texts),
    tasks: Object.fromEntries(tasks.map((task) => [task['taskId'], task])),
    executorSummary: Object.fromEntries(
      summaries.map(({ executor, ...summary }) => [
        executor,
        {
          ...Object.fromEntries(Object.entries(summary).map(([name, value]) => [name, Number(value)])),
          isBlacklistedForStage: false,
          isExcludedForStage: false,
        },
      ]),
    ),
  }
}

function executorSummaries(from: string): string {
  return `
    select executor, sum(finished_ms - launched_ms) as "taskTime",
      count(*) filter (${taskStatus} = 'FAILED') as "failedTasks",
      count(*) filter (reason = 'Success') as "succeededTasks",
      count(*) filter (${taskStatus} = 'KILLED') as "killedTasks",
      sum(input_bytes) as "inputBytes", sum(input_records) as "inputRecords",
      sum(output_bytes) as "outputBytes", sum(output_records) as "outputRecords",
      sum(shuffle_local_bytes + shuffle_remote_bytes) as "shuffleRead", sum(shuffle_read_records) as "shuffleReadRecords",
      sum(shuffle_write_bytes) as "shuffleWrite", sum(shuffle_write_records) as "shuffleWriteRecords",
      sum(memory_spilled) as "memoryBytesSpilled", sum(disk_spilled) as "diskBytesSpilled"
    from   ${from}
    where  ended
    group by executor`
}

async function logs(tools: RouteTools, params: Record<string, string>): Promise<PostAnswer> {
  const { app = '', attempt } = params
  const rows = await tools.sql(
    'select path, attempt from spark_event_logs where app_id = $1 and ($2::text is null or attempt = $2)',
    [app, attempt ?? null],
  )
  const found = await Promise.all(
    rows.map(async ({ path }) => {
      const lying = await findLogs(join(String(path), '..'))
      return lying.logs.filter((log) => log.appId === app && (attempt === undefined || log.attempt === attempt))
    }),
  )
  const all = [...new Map(found.flat().map((log) => [log.path, log])).values()].flatMap((log) => log.files)
  if (all.length === 0)
    return { status: 404, type: 'text/plain', body: `Event logs are not available for app: ${app}.` }
  if (all.reduce((sum, { bytes }) => sum + bytes, 0) >= mostZipBytes) {
    return { status: 404, type: 'text/plain', body: `The logs of ${app} are too large for a zip.` }
  }
  const name = attempt === undefined ? app : `${app}-${attempt}`
  return {
    type: 'application/octet-stream',
    headers: { 'content-disposition': `attachment; filename="eventLogs-${name.replaceAll(/[^\w.-]/g, '_')}.zip"` },
    body: zipOf(all.map(({ path, bytes }) => ({ name: path.slice(path.lastIndexOf('/') + 1), path, bytes }))),
  }
}

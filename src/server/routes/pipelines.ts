/** Pipelines, their plans, batches and files. */
import type { FastifyInstance } from 'fastify'
import { explain } from '../../engine/explain.ts'
import { filesSources } from '../../sources/files/waiting.ts'
import type { LedgerLine } from '../../store/store.ts'
import { type Desk, lineOf, storeOf } from '../desk.ts'
import { stateBytesOf } from '../numbers.ts'
import { describe, describePipelines } from '../reading.ts'
import {
  answers,
  batchSchema,
  count,
  fileSchema,
  listOf,
  nameParameter,
  orNull,
  pageProperties,
  pipelineDetailSchema,
  pipelineSchema,
  shape,
} from '../schemas.ts'
import { batchView, positionViews } from '../views.ts'

const tags = ['pipelines']
const page = { type: 'object', properties: pageProperties, additionalProperties: false }

interface Page {
  Params: { name: string }
  Querystring: { before?: number; limit: number }
}

export function pipelineRoutes(app: FastifyInstance, desk: Desk): void {
  app.get(
    '/api/pipelines',
    {
      schema: {
        tags,
        summary: 'All pipelines of this process',
        response: answers(shape({ pipelines: listOf(pipelineSchema) })),
      },
    },
    async () => ({ pipelines: await describePipelines(desk) }),
  )

  app.get<{ Params: { name: string } }>(
    '/api/pipelines/:name',
    {
      schema: {
        tags,
        summary: 'A pipeline with its plan and its positions',
        params: nameParameter,
        response: answers(pipelineDetailSchema),
      },
    },
    async ({ params: { name } }) => {
      const line = lineOf(desk, name)
      const store = storeOf(desk)
      const described = (await describe(desk)).get(name)
      const { hash, sources, steps } = explain(line.plan)
      const flow = await flowOf(desk, name)
      return {
        ...described?.view,
        state_bytes: await stateBytesOf(store.reads, name),
        plan: line.plan,
        hash,
        source: sources,
        steps: steps.map((step) => {
          const rowsIn = step.from.reduce(
            (sum, id) => sum + (flow.steps.get(id) ?? (id in line.plan.sources ? flow.read : 0)),
            0,
          )
          const rowsOut = flow.steps.get(step.id) ?? 0
          return { ...step, rows_in: rowsIn, rows_out: rowsOut, rows_per_second: rowsOut / 60 }
        }),
        positions: positionViews(described?.positions ?? [], described?.topics ?? []),
        folders: filesSources(line.plan).map(({ folder }) => folder),
        quarantine: line.quarantine ?? null,
      }
    },
  )

  app.get<Page>(
    '/api/pipelines/:name/batches',
    {
      schema: {
        tags,
        summary: 'The ledger of a pipeline, newest first',
        params: nameParameter,
        querystring: page,
        response: answers(shape({ batches: listOf(batchSchema), next: orNull(count) })),
      },
    },
    async ({ params: { name }, query: { before, limit } }) => {
      lineOf(desk, name)
      const rows = await storeOf(desk).reads.select(
        `
        select batch, epoch, kind, started_at as "startedAt", committed_at as "committedAt", rows_in as "rowsIn",
               written, filtered, duplicates, late, dead, files_quarantined as "filesQuarantined",
               rows_out as "rowsOut", step_rows as "stepRows", phases_ms as "phasesMs", ranges
        from   millrace.batches
        where  pipeline = $1 and ($2::bigint is null or batch < $2)
        order by batch desc
        limit  $3`,
        [name, before ?? null, limit],
      )
      // as: the columns of the statement above
      const batches = (rows as unknown as LedgerLine[]).map(batchView)
      return { batches, next: batches.length === limit ? (batches.at(-1)?.batch ?? null) : null }
    },
  )

  app.get<Page>(
    '/api/pipelines/:name/files',
    {
      schema: {
        tags,
        summary: 'The files a pipeline has read, those of the newest batches first',
        params: nameParameter,
        querystring: page,
        response: answers(shape({ files: listOf(fileSchema), next: orNull(count) })),
      },
    },
    async ({ params: { name }, query: { before, limit } }) => {
      lineOf(desk, name)
      const files = await storeOf(desk).reads.select(
        `
        select id, path, size, state, rows_done, bytes_done, batch, code, message, arrived_at
        from   millrace.files
        where  pipeline = $1 and ($2::bigint is null or batch < $2)
        order by batch desc
        -- all files of the last batch, so that the next page can begin before it
        fetch first $3 rows with ties`,
        [name, before ?? null, limit],
      )
      const last = files.at(-1)?.['batch']
      return { files, next: files.length >= limit && typeof last === 'number' ? last : null }
    },
  )
}

// Rows of the last minute: those that were read, and those that each step handed on.
async function flowOf(desk: Desk, name: string): Promise<{ read: number; steps: Map<string, number> }> {
  const rows = await storeOf(desk).reads.select(
    `
    with recent as (
      select rows_in, step_rows
      from   millrace.batches
      where  pipeline = $1 and committed_at > clock_timestamp() - interval '1 minute'
    )
    select null as step, coalesce(sum(rows_in), 0)::float8 as rows
    from   recent
    union all
    select step.key, sum(step.value::bigint)::float8
    from   recent
    cross join lateral jsonb_each_text(step_rows) step
    group by step.key`,
    [name],
  )
  const read = Number(rows.find(({ step }) => step === null)?.['rows'] ?? 0)
  return { read, steps: new Map(rows.map(({ step, rows }) => [String(step), Number(rows)])) }
}

/** Numbers for Prometheus: what the ledger and the workers say, and what this process costs. */
import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Progress } from '../engine/progress.ts'
import { tasksByState } from '../tasks/queue.ts'
import type { Desk } from './desk.ts'
import { describePipelines } from './reading.ts'
import { text } from './schemas.ts'

interface MetricEntry {
  is: 'counter' | 'gauge' | 'histogram'
  labels: readonly string[]
  says: string
}

/** Every metric of Millrace's own. `docs/reference/metrics.md` is made from this. */
export const metrics = {
  millrace_rows_total: {
    is: 'counter',
    labels: ['pipeline', 'verdict'],
    says: 'Rows by what became of them: written, filtered, duplicates, late or dead. All time, from the ledger; their sum is what was read.',
  },
  millrace_batch_duration_seconds: {
    is: 'histogram',
    labels: ['pipeline', 'phase'],
    says: 'How long the phases of a batch took in this process: list, cut, read, operate, keys, print, letters, books, land.',
  },
  millrace_source_lag_rows: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'Rows that are not committed yet. Of topics, what lies behind the committed positions; of files an estimate: those that wait, times the rows that files had lately. Absent while it is not known.',
  },
  millrace_source_lag_seconds: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'How long the oldest of the files that wait has waited. Absent where only messages wait: when one came is known once it is read.',
  },
  millrace_watermark_lag_seconds: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'How far the watermark is behind the clock. Absent where a pipeline has none, and where a final run has closed all windows.',
  },
  millrace_state_rows: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'Rows of state that steps keep: keys seen, and panes of open windows.',
  },
  millrace_dead_letters: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'Dead letters that are open: neither replayed nor discarded.',
  },
  millrace_outbox_rows: {
    is: 'gauge',
    labels: ['pipeline'],
    says: 'Messages of committed rows that wait to be published to their topics.',
  },
  millrace_tasks: {
    is: 'gauge',
    labels: ['pipeline', 'task', 'state'],
    says: 'Tasks that are there: asked (for, and not in the queue yet), waiting, running, retrying (failed, and tried again later), dead.',
  },
  millrace_commit_retries_total: {
    is: 'counter',
    labels: ['pipeline'],
    says: 'How often this process has tried again after the database failed.',
  },
  millrace_end_to_end_latency_seconds: {
    is: 'histogram',
    labels: ['pipeline'],
    says: 'From the arrival of the oldest input of a batch to its commit, when its rows are visible.',
  },
  millrace_http_request_duration_seconds: {
    is: 'histogram',
    labels: ['route', 'code'],
    says: 'How long requests to this server took, by route and status.',
  },
  millrace_events_posted_total: {
    is: 'counter',
    labels: ['topic'],
    says: 'Events that this process has taken over HTTP; those sent again under their key count once.',
  },
  millrace_duckdb_memory_bytes: { is: 'gauge', labels: [], says: 'Memory that DuckDB holds, within MEMORY_LIMIT.' },
} as const satisfies Record<string, MetricEntry>

type Name = keyof typeof metrics

const batchBuckets = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const latencyBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

export interface Meter {
  /** Called whenever a worker says how far it is. */
  note(pipeline: string, progress: Progress): void
}

export function metricsRoute(app: FastifyInstance, desk: Desk, taken: ReadonlyMap<string, number>): Meter {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const made = <Kind>(name: Name, kind: new (options: never) => Kind, more: object = {}): Kind =>
    // as: the library's types for options differ by kind
    new kind({
      name,
      help: metrics[name].says,
      labelNames: [...metrics[name].labels],
      registers: [registry],
      ...more,
    } as never)
  const rows = made('millrace_rows_total', Counter<string>)
  const batches = made('millrace_batch_duration_seconds', Histogram<string>, { buckets: batchBuckets })
  const lagRows = made('millrace_source_lag_rows', Gauge<string>)
  const lagSeconds = made('millrace_source_lag_seconds', Gauge<string>)
  const watermark = made('millrace_watermark_lag_seconds', Gauge<string>)
  const state = made('millrace_state_rows', Gauge<string>)
  const letters = made('millrace_dead_letters', Gauge<string>)
  const outbox = made('millrace_outbox_rows', Gauge<string>)
  const tasks = made('millrace_tasks', Gauge<string>)
  const retries = made('millrace_commit_retries_total', Counter<string>)
  const latency = made('millrace_end_to_end_latency_seconds', Histogram<string>, { buckets: latencyBuckets })
  const requests = made('millrace_http_request_duration_seconds', Histogram<string>, { buckets: batchBuckets })
  const posted = made('millrace_events_posted_total', Counter<string>)
  const memory = made('millrace_duckdb_memory_bytes', Gauge<string>)

  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    requests.observe({ route, code: String(reply.statusCode) }, reply.elapsedTime / 1000)
  })

  app.get(
    '/metrics',
    {
      schema: {
        tags: ['metrics'],
        summary: 'Numbers for Prometheus',
        produces: ['text/plain'],
        response: {
          200: { description: 'The text format of Prometheus.', content: { 'text/plain': { schema: text } } },
        },
      },
    },
    async (_request, reply) => {
      return await reply.type(registry.contentType).send(await inTurn(() => scrape()))
    },
  )
  // two at once would add to the same counters
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const done = turn.then(work)
    turn = done.catch(() => {})
    return done
  }
  const scrape = async (): Promise<string> => {
    for (const counter of [rows, retries, posted]) counter.reset()
    for (const [topic, events] of taken) posted.inc({ topic }, events)
    for (const gauge of [lagRows, lagSeconds, watermark, state, letters, outbox, tasks]) gauge.reset()
    for (const { pipeline, task, ...counts } of await tasksNow(desk))
      for (const [state, n] of Object.entries(counts)) tasks.set({ pipeline, task, state }, n)
    for (const view of await describePipelines(desk)) {
      const { pipeline, books, lag } = view
      if (books !== null) {
        const { rows_in: _, ...verdicts } = books
        for (const [verdict, n] of Object.entries(verdicts)) rows.inc({ pipeline, verdict }, n)
      }
      if (lag.rows !== null) lagRows.set({ pipeline }, lag.rows)
      if (lag.seconds !== null) lagSeconds.set({ pipeline }, lag.seconds)
      if (view.watermark_lag_ms !== null) watermark.set({ pipeline }, view.watermark_lag_ms / 1000)
      state.set({ pipeline }, view.state_rows)
      letters.set({ pipeline }, view.dead_letters_open ?? 0)
      outbox.set({ pipeline }, view.outbox_rows ?? 0)
      retries.inc({ pipeline }, view.retries)
    }
    memory.set(await duckMemory(desk))
    return await registry.metrics()
  }

  const noted = new Map<string, number>()
  return {
    note(pipeline, { lastBatch, lastPhases, lastLatencyMs }) {
      const before = noted.get(pipeline)
      noted.set(pipeline, lastBatch)
      if (before === lastBatch || lastPhases === undefined) return
      for (const [phase, ms] of Object.entries(lastPhases)) batches.observe({ pipeline, phase }, ms / 1000)
      if (lastLatencyMs !== undefined) latency.observe({ pipeline }, lastLatencyMs / 1000)
    },
  }
}

// None while the database does not answer.
async function tasksNow({ board: { store } }: Desk) {
  if (store === undefined) return []
  try {
    return await tasksByState((sql, values) => store.reads.select(sql, values))
  } catch {
    return []
  }
}

async function duckMemory({ board }: Desk): Promise<number> {
  if (board.duck === undefined) return 0
  using session = await board.duck.connect()
  const [row] = await session.rows<{ bytes: number }>(
    'select coalesce(sum(memory_usage_bytes), 0)::double as bytes from duckdb_memory()',
  )
  return row?.bytes ?? 0
}

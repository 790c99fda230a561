/** What the server tells as it happens, kept for every view. */
import { ask, generation, withQuery } from './api.ts'
import { cell } from './cell.ts'
import { type Connection, openEventStream, type ServerEvent } from './event-stream.ts'
import type { Batch, LandedRows, Pipeline } from './types.ts'

export type BatchEvent = Batch & { pipeline: string }

/** Rejected rows of one batch, by code. */
export interface DeadEvent {
  pipeline: string
  codes: Record<string, number>
}

export const connection = cell<Connection>({ is: 'connecting' })
export const pipelines = cell<Pipeline[] | undefined>(undefined)
/** When the server last told anything. */
export const heardAt = cell<number | undefined>(undefined)
/** The newest batches of each pipeline, newest first. */
export const batches = cell<Record<string, BatchEvent[]>>({})
/** Rows a second of each pipeline, one number a second, oldest first. */
export const rates = cell<Record<string, number[]>>({})

const batchesKept = 60
export const secondsKept = 120
const averageOverSeconds = 5

type Watcher<T> = (event: T) => void
const rowWatchers = new Set<Watcher<LandedRows>>()
const deadWatchers = new Set<Watcher<DeadEvent>>()
const batchWatchers = new Set<Watcher<BatchEvent>>()
let rowsOf: string | undefined

const stream = openEventStream({
  path: () => (rowsOf === undefined ? '/api/events' : `/api/events?rows=${encodeURIComponent(rowsOf)}`),
  onEvent: take,
  onConnection(next) {
    const before = connection.get()
    connection.set(next)
    if (next.is === 'open' && before.is === 'waiting') generation.set(generation.get() + 1)
  },
})

/** Asks for rows of a pipeline as they land, until the answer is called. */
export function watchRows(pipeline: string, seen: Watcher<LandedRows>): () => void {
  rowWatchers.add(seen)
  rowsOf = pipeline
  stream.restart()
  return () => {
    rowWatchers.delete(seen)
    if (rowWatchers.size > 0 || rowsOf === undefined) return
    rowsOf = undefined
    stream.restart()
  }
}

export function watchDead(seen: Watcher<DeadEvent>): () => void {
  deadWatchers.add(seen)
  return () => deadWatchers.delete(seen)
}

export function watchBatches(seen: Watcher<BatchEvent>): () => void {
  batchWatchers.add(seen)
  return () => batchWatchers.delete(seen)
}

export function tryNow(): void {
  stream.restart()
}

function take({ event, data }: ServerEvent): void {
  heardAt.set(Date.now())
  if (event === 'pipelines') takePipelines(JSON.parse(data))
  if (event === 'batch') takeBatch(JSON.parse(data))
  if (event === 'rows') for (const seen of rowWatchers) seen(JSON.parse(data))
  if (event === 'dead') for (const seen of deadWatchers) seen(JSON.parse(data))
}

function takePipelines({ pipelines: told }: { pipelines: Pipeline[] }): void {
  pipelines.set(told)
  for (const { pipeline } of told) {
    if (rates.get()[pipeline] !== undefined) continue
    rates.set({ ...rates.get(), [pipeline]: [] })
    void recall(pipeline)
  }
}

// How fast it was before the page was opened, from its batches, each second an average as the server's own are.
async function recall(pipeline: string): Promise<void> {
  const path = withQuery(`/api/pipelines/${encodeURIComponent(pipeline)}/batches`, { limit: 200 })
  const known = await ask<{ batches: Batch[] }>(path).catch(() => undefined)
  // without them the line begins now
  if (known === undefined || known.batches.length === 0) return
  const now = Date.now()
  const rows = new Array<number>(secondsKept + averageOverSeconds).fill(0)
  for (const { committed_at: at, rows_in: count } of known.batches) {
    const second = rows.length - 1 - Math.floor((now - Date.parse(at)) / 1000)
    if (second >= 0 && second < rows.length) rows[second] = (rows[second] ?? 0) + count
  }
  const before = rows.slice(averageOverSeconds).map((_, second) => {
    const last = rows.slice(second + 1, second + 1 + averageOverSeconds)
    return last.reduce((sum, count) => sum + count, 0) / averageOverSeconds
  })
  const since = rates.get()[pipeline] ?? []
  rates.set({ ...rates.get(), [pipeline]: [...before, ...since].slice(-secondsKept) })
}

function takeBatch(batch: BatchEvent): void {
  const all = batches.get()
  const known = all[batch.pipeline] ?? []
  if (!known.some((each) => each.batch === batch.batch)) {
    const newest = [batch, ...known].sort((a, b) => b.batch - a.batch).slice(0, batchesKept)
    batches.set({ ...all, [batch.pipeline]: newest })
  }
  for (const seen of batchWatchers) seen(batch)
}

setInterval(() => {
  const now = pipelines.get()
  if (now === undefined || connection.get().is !== 'open') return
  const before = rates.get()
  const next = now.map(({ pipeline, rows_per_second }): [string, number[]] => [
    pipeline,
    [...(before[pipeline] ?? []), rows_per_second].slice(-secondsKept),
  ])
  rates.set(Object.fromEntries(next))
}, 1000)

// A page that nobody looks at costs the server nothing after a while, and browsers open few connections to one server.
const restAfterMs = 30_000
let resting: ReturnType<typeof setTimeout> | undefined
document.addEventListener('visibilitychange', () => {
  clearTimeout(resting)
  if (document.hidden) resting = setTimeout(() => stream.rest(), restAfterMs)
  else if (connection.get().is !== 'open') stream.restart()
})
window.addEventListener('online', () => {
  if (connection.get().is === 'waiting') stream.restart()
})

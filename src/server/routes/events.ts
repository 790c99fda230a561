/** What happens, as it happens: server-sent events for whoever has a page open. Nothing is asked for while nobody looks. */
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { messageOf } from '../../errors.ts'
import type { Board } from '../board.ts'
import type { Desk } from '../desk.ts'
import { describePipelines } from '../reading.ts'
import { text } from '../schemas.ts'
import { batchView, type PipelineView } from '../views.ts'

const lookEveryMs = 250
const pipelinesEveryMs = 1000
const heartbeatMs = 15_000
/** Of the batches since the last look, so many of a pipeline are told; a page shows no more. */
const batchesAtOnce = 20
/** What a watcher who does not read may leave unread, before the connection is ended. */
const mostUnread = 4_000_000

interface Watcher {
  response: ServerResponse
  /** The pipeline whose rows it wants to see. */
  rows: string | undefined
  /** By pipeline, the last batch it has been told of. */
  told: Map<string, number>
}

export function eventRoutes(app: FastifyInstance, desk: Desk): void {
  const watchers = new Set<Watcher>()
  let looking = false
  const look = async (): Promise<void> => {
    if (looking) return
    looking = true
    try {
      await watch(desk, watchers)
    } finally {
      looking = false
    }
  }
  desk.board.onRows = (rows) => {
    for (const watcher of watchers) if (watcher.rows === rows.pipeline) send(watcher, watchers, 'rows', rows)
  }
  desk.board.wantsRows = (pipeline) => [...watchers].some(({ rows }) => rows === pipeline)

  app.get<{ Querystring: { rows?: string } }>(
    '/api/events',
    {
      schema: {
        tags: ['events'],
        summary: 'Pipelines, batches, dead letters and landed rows as they come (server-sent events)',
        description:
          'Events: `pipelines`, `batch`, `dead`, and `rows` when a pipeline is named. An id tells how far the batches of each ' +
          'pipeline were told; sent back as Last-Event-ID, the batches after it come first.',
        querystring: {
          type: 'object',
          properties: { rows: { type: 'string', maxLength: 200, description: 'rows of this pipeline as they land' } },
          additionalProperties: false,
        },
        produces: ['text/event-stream'],
        response: {
          200: {
            description: 'Events, until either side ends it.',
            content: { 'text/event-stream': { schema: text } },
          },
        },
      },
    },
    async (request, reply) => {
      reply.hijack()
      const headers = { ...reply.getHeaders(), 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
      // as: Fastify's headers are those of Node
      reply.raw.writeHead(200, headers as Record<string, string>)
      reply.raw.write(`retry: 1000\n\n`)
      const watcher: Watcher = {
        response: reply.raw,
        rows: request.query.rows,
        told: toldUpTo(request.headers['last-event-id']),
      }
      watchers.add(watcher)
      reply.raw.on('close', () => watchers.delete(watcher))
      const heartbeat = setInterval(() => reply.raw.write(': still here\n\n'), heartbeatMs)
      reply.raw.on('close', () => clearInterval(heartbeat))
      void look()
    },
  )
  app.addHook('preClose', async () => {
    for (const { response } of watchers) response.end()
    watchers.clear()
  })
}

// `shop-events=12,user-activity=7`
function toldUpTo(id: string | string[] | undefined): Map<string, number> {
  const parts = String(id ?? '').split(',')
  return new Map(
    parts.flatMap((part) => {
      const [pipeline = '', batch = ''] = part.split('=')
      return /^\d{1,15}$/.test(batch) ? [[pipeline, Number(batch)] as const] : []
    }),
  )
}

async function watch(desk: Desk, watchers: Set<Watcher>): Promise<void> {
  let shown = ''
  let shownAt = 0
  while (watchers.size > 0 && !desk.signal.aborted) {
    try {
      if (performance.now() - shownAt >= pipelinesEveryMs || [...watchers].some(({ told }) => !told.has(''))) {
        const pipelines = await describePipelines(desk)
        const now = newsOf(pipelines)
        for (const watcher of watchers) {
          // whoever has just come gets it in any case
          if (now !== shown || !watcher.told.has('')) send(watcher, watchers, 'pipelines', { pipelines })
          watcher.told.set('', 0)
        }
        shown = now
        shownAt = performance.now()
      }
      await tellBatches(desk.board, watchers)
    } catch (error) {
      // the pipelines' own state says what is wrong with the database; whoever looks hears more at the next look
      desk.log.debug('a look at the pipelines failed', { why: messageOf(error) })
    }
    await sleep(lookEveryMs, undefined, { signal: desk.signal }).catch(() => {})
  }
}

/** What is told anew when it has changed: that the clock went on is no news. */
export function newsOf(pipelines: readonly PipelineView[]): string {
  return JSON.stringify(pipelines, (name, value) => (name === 'watermark_lag_ms' ? undefined : value))
}

async function tellBatches({ store, lines }: Board, watchers: Set<Watcher>): Promise<void> {
  if (store === undefined) return
  const { reads } = store
  const heads = await reads.select('select pipeline, batch from millrace.pipelines')
  for (const { pipeline, batch } of heads) {
    const name = String(pipeline)
    const last = Number(batch)
    if (!lines.has(name)) continue
    const waiting = [...watchers].filter(({ told }) => (told.get(name) ?? -1) < last)
    if (waiting.length === 0) continue
    // one that has just come begins with what follows
    for (const { told } of waiting) if (!told.has(name)) told.set(name, last)
    const after = Math.min(...waiting.map(({ told }) => told.get(name) ?? last))
    if (after >= last) continue
    const since = await reads.ledger(name, { after: Math.max(after, last - batchesAtOnce), first: batchesAtOnce })
    for (const line of since) {
      const dead =
        line.dead === 0 ? undefined : await reads.countDeadLetters({ pipeline: name, batch: line.batch, settled: true })
      for (const watcher of waiting) {
        if ((watcher.told.get(name) ?? last) >= line.batch) continue
        watcher.told.set(name, line.batch)
        send(watcher, watchers, 'batch', { pipeline: name, ...batchView(line) })
        if (dead !== undefined) {
          const codes = Object.fromEntries(dead.map(({ code, letters }) => [code, letters]))
          send(watcher, watchers, 'dead', { pipeline: name, batch: line.batch, codes })
        }
      }
    }
  }
}

function send(watcher: Watcher, watchers: Set<Watcher>, event: string, data: unknown): void {
  const { response, told } = watcher
  if (response.writableLength > mostUnread) {
    watchers.delete(watcher)
    response.destroy()
    return
  }
  const id = [...told].flatMap(([pipeline, batch]) => (pipeline === '' ? [] : [`${pipeline}=${batch}`])).join(',')
  response.write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

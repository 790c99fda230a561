/**
 * The half of a stream that Spark runs: a query for each source, from its input to a folder of Parquet. Each goes on from
 * its own checkpoint, so that whatever dies, a server or this process, the queries are only started again.
 */
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { KafkaSettings } from '../config.ts'
import { MillraceError, messageOf } from '../errors.ts'
import { sparkName } from '../functions/spark-type.ts'
import type { Log } from '../log.ts'
import type { Plan, Source } from '../plan/plan.ts'
import type { SourceReader } from '../sources/source.ts'
import { type ReadFiles, SparkSession } from './connect.ts'
import { type Feed, feedsOf } from './feeds.ts'
import { openParquet } from './inputs.ts'
import { messagesOf, prefixOf } from './prefix.ts'
import { type RunningQuery, standingOf, startQuery, stopQuery } from './query.ts'
import { checkServer } from './run.ts'
import { sessionSettings } from './settings.ts'
import { linesColumns, messageColumns, type SparkInput } from './source-sql.ts'
import { StreamedRows, type StreamedRowsOptions } from './streamed-rows.ts'

export interface StreamOptions {
  plan: Plan
  remote: string
  /** What each source reads. */
  feeds: ReadonlyMap<string, Feed>
  /** Of this pipeline; Spark and this process see it under the same path. */
  folder: string
  rowsInFile: number
  everyMs: number
  log: Log
}

interface Running {
  session: SparkSession
  queries: Map<string, { reading: number; query: RunningQuery }>
}

type StreamTools = Pick<StreamedRowsOptions, 'sql' | 'committed'>

const lookEveryMs = 1000
/** How long one question is asked; the next look asks again. */
const askMs = 2000
const mostPauseMs = 30_000
/** A server that answers may be tried so often in a row before the pipeline stops. */
const mostFailures = 6

/** The sources of a plan, as its worker reads them. `inputs` are folders in place of topics. */
export async function openStream({
  inputs,
  kafka,
  everyMs = lookEveryMs,
  ...options
}: Omit<StreamOptions, 'feeds' | 'everyMs'> & {
  inputs: string[]
  kafka: KafkaSettings | undefined
  everyMs?: number
}): Promise<(id: string, tools: StreamTools) => Promise<SourceReader>> {
  const { plan } = options
  const stream = new SparkStream({ ...options, everyMs, feeds: await feedsOf(plan, inputs, kafka) })
  return async (id, tools) => {
    const source = plan.sources[id]
    if (source === undefined) throw new Error(`${plan.name} has no source ${id}`)
    return new StreamedRows({
      ...tools,
      id,
      source,
      pipeline: plan.name,
      folderOf: (reading) => stream.rowsFolder(id, reading),
      look: (reading) => stream.look(id, reading),
      close: () => stream[Symbol.asyncDispose](),
    })
  }
}

export class SparkStream implements AsyncDisposable {
  readonly #options: StreamOptions
  #running: Running | undefined
  /** The reading of each source that is asked for. */
  readonly #wanted = new Map<string, number>()
  readonly #quiet = new Map<string, boolean>()
  #tending: Promise<void> | undefined
  #nextAt = 0
  #hasRun = false
  #failures = 0
  #fatal: unknown

  constructor(options: StreamOptions) {
    this.#options = options
  }

  /** Where the rows of a source are. */
  rowsFolder(source: string, reading: number): string {
    return join(this.#folder(source, reading), 'rows')
  }

  /**
   * Sees to it, beside the caller, that the queries run. Answers whether Spark had nothing to do for this source when it
   * was last asked. Errors: whatever will not pass.
   */
  look(source: string, reading: number): boolean {
    if (this.#fatal !== undefined) throw this.#fatal
    if (this.#wanted.get(source) !== reading) {
      this.#wanted.set(source, reading)
      this.#quiet.delete(source)
    }
    if (this.#tending === undefined && performance.now() >= this.#nextAt) {
      this.#tending = this.#tend().finally(() => {
        this.#tending = undefined
      })
    }
    return this.#quiet.get(source) ?? false
  }

  async #tend(): Promise<void> {
    try {
      this.#running ??= { session: await this.#connect(), queries: new Map() }
      const { session, queries } = this.#running
      for (const [source, reading] of this.#wanted) {
        const before = queries.get(source)
        if (before?.reading !== reading) {
          if (before !== undefined) await stopQuery(session, before.query)
          queries.set(source, { reading, query: await this.#start(session, source, reading) })
        }
      }
      for (const [source, { reading, query }] of queries) {
        const standing = await standingOf(session, query)
        if (standing.is === 'ended') throw hasEnded(this.#options.plan.name, source, standing.why)
        if (this.#wanted.get(source) !== reading) continue
        this.#quiet.set(source, !standing.hasMore)
        if (!standing.hasMore) this.#failures = 0
      }
      this.#nextAt = performance.now() + lookEveryMs
    } catch (error) {
      this.#quiet.clear()
      await this.#drop()
      if (!this.#mayPass(error)) {
        this.#fatal = error
        return
      }
      const pauseMs = Math.min(mostPauseMs, lookEveryMs * 2 ** Math.min(this.#failures, 10))
      this.#nextAt = performance.now() + pauseMs
      this.#options.log.warn('starting the queries on Spark again', {
        pipeline: this.#options.plan.name,
        why: messageOf(error),
        next_in_ms: pauseMs,
      })
    }
  }

  // A server that does not answer is waited for; one that answers, and fails again and again, is not.
  #mayPass(error: unknown): boolean {
    if (!(error instanceof MillraceError)) return false
    if (error.code === 'SPARK_UNREACHABLE' || error.code === 'SPARK_SESSION_LOST') return true
    return this.#hasRun && error.code === 'SPARK_FAILED' && ++this.#failures < mostFailures
  }

  async #connect(): Promise<SparkSession> {
    const session = await SparkSession.open({ remote: this.#options.remote, waitMs: askMs })
    try {
      await session.configure(sessionSettings)
      await checkServer(session)
      return session
    } catch (error) {
      await session[Symbol.asyncDispose]()
      throw error
    }
  }

  async #start(session: SparkSession, id: string, reading: number): Promise<RunningQuery> {
    const { plan, feeds, rowsInFile, everyMs, log } = this.#options
    const [source, feed] = [plan.sources[id], feeds.get(id)]
    if (source === undefined || feed === undefined) throw new Error(`${plan.name} has no source ${id}`)
    const folder = this.#folder(id, reading)
    await mkdir(folder, { recursive: true })
    const lines = sparkName(`${id} lines`)
    const { input, read } = await readOf(session, id, source, feed)
    const prefix = prefixOf(plan, id, source, input, lines)
    await session.viewOfFiles(lines, { ...read, options: feed.options, isStreaming: true })
    for (const { name, select } of prefix.views) await session.view(name, select)
    const query = await startQuery(session, {
      name: `${plan.name} ${id}`,
      select: prefix.select,
      rows: uriOf(this.rowsFolder(id, reading)),
      checkpoint: uriOf(join(folder, 'checkpoint')),
      everyMs,
      rowsInFile,
    })
    await mustBeHere(folder)
    this.#hasRun = true
    log.info('a query runs on Spark', { pipeline: plan.name, source: id, query: query.id })
    return query
  }

  #folder(source: string, reading: number): string {
    return join(this.#options.folder, encodeURIComponent(source), String(reading))
  }

  async #drop(): Promise<void> {
    const session = this.#running?.session
    this.#running = undefined
    // a session that is lost is gone there, too
    await session?.[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tending
    const running = this.#running
    this.#running = undefined
    if (running === undefined) return
    for (const { query } of running.queries.values()) {
      await stopQuery(running.session, query).catch((error: unknown) => {
        // whoever starts it again ends it
        this.#options.log.warn('a query on Spark was not stopped', { why: messageOf(error) })
      })
    }
    await running.session[Symbol.asyncDispose]()
  }
}

function uriOf(path: string): string {
  return pathToFileURL(path).href
}

async function readOf(
  session: SparkSession,
  id: string,
  source: Source,
  feed: Feed,
): Promise<{ input: SparkInput; read: ReadFiles }> {
  if (feed.is === 'topic')
    return { input: messagesOf(id), read: { format: 'kafka', paths: [], columns: messageColumns } }
  const { path, format } = feed
  const input: SparkInput = { source: id, format, paths: [path] }
  if (format.is !== 'parquet') return { input, read: { format: 'text', paths: [path], columns: linesColumns(input) } }
  // the columns are those of the files that are there now
  const opened = await openParquet(session, source, input)
  const schema = (opened.columns ?? []).map(({ name, type }) => `${sparkName(name)} ${type}`).join(', ')
  return { input: opened, read: { format: 'parquet', paths: [path], columns: linesColumns(opened), schema } }
}

// Spark has written there by now. On a machine with another disk it would go on for ever, and nothing would come here.
async function mustBeHere(folder: string): Promise<void> {
  const written = join(folder, 'checkpoint', 'metadata')
  const found = await stat(written).catch(() => undefined)
  if (found !== undefined) return
  throw new MillraceError('INVALID_SETTING', {
    at: 'CHECKPOINT_LOCATION',
    message: `Spark has written ${written}, and it is not there for this process`,
    hint: 'name a folder that the Spark server and this process both see, under the same path',
  })
}

function hasEnded(pipeline: string, source: string, why: string | undefined): MillraceError {
  return new MillraceError('SPARK_FAILED', {
    at: `${pipeline} / ${source}`,
    message: why ?? 'the query was stopped: another worker has started it, or somebody has ended it',
    hint: "Spark's own log says more",
  })
}

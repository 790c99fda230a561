/** A worker for one system: everything `runPipeline` needs, from the configuration. */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import type { Config } from '../config.ts'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Plan, Source } from '../plan/plan.ts'
import { unreadColumns } from '../plan/unread-columns.ts'
import { filesSources } from '../sources/files/waiting.ts'
import { sources } from '../sources/index.ts'
import { type ChosenLetters, openLettersReader } from '../sources/letters.ts'
import { severalReaders } from '../sources/several.ts'
import type { SourceReader, Sql } from '../sources/source.ts'
import { openTopics } from '../sources/topic/open.ts'
import type { Committed, Store } from '../store/store.ts'
import type { System } from '../system.ts'
import { type Duck, spoolFolder } from './duckdb.ts'
import { runFollowers } from './follow.ts'
import { interruptedRuns, rowsAtOnce, runsFolder, takesWholeKeys } from './keyed-run.ts'
import type { LandedRows, Progress } from './progress.ts'
import { runPipeline } from './run.ts'

/** A bounded run whose topic takes nothing for so long ends: what waits is stored. */
const publishPatienceMs = 30_000

export interface SystemRun {
  system: System
  config: Config
  store: Store
  duck: Duck
  log: Log
  signal: AbortSignal
  /** A bounded run: over these files, or over what is in the folder now. */
  bounded?: { inputs: string[] | undefined; again: boolean; final?: boolean; output?: string | undefined }
  /** A replay, over these dead letters. */
  letters?: ChosenLetters
  /** Reads a source in place of our own readers, which know nothing of what it reads. */
  openElsewhere?: (id: string, tools: ElsewhereTools) => Promise<SourceReader>
  onProgress?: (progress: Progress) => void
  onProblem?: (problem: MillraceError) => void
  watch?: { wanted(): boolean; rows(landed: LandedRows): void }
  /** Waits so long after a small batch that was begun then; less or more where that serves those who post. */
  rest?: (ms: number, sinceMs: number) => Promise<void>
}

export interface ElsewhereTools {
  sql: Sql
  /** What is committed of the pipeline. */
  committed(): Promise<Committed>
}

/** Its pipeline, and its followers beside it; a bounded run lets them look once, after it. */
export async function runSystem(run: SystemRun): Promise<Progress> {
  if (run.letters !== undefined || run.system.followers === undefined) return await runItsPipeline(run)
  if (run.bounded !== undefined) {
    const progress = await runItsPipeline(run)
    await runFollowers(run)
    return progress
  }
  const stop = new AbortController()
  const following = runFollowers({ ...run, signal: AbortSignal.any([run.signal, stop.signal]) })
  try {
    return await runItsPipeline(run)
  } finally {
    stop.abort()
    await following
  }
}

async function runItsPipeline(run: SystemRun): Promise<Progress> {
  const { system, config, store, duck, log, signal, bounded, letters } = run
  const plan = planOf(system, config)
  for (const { folder } of filesSources(plan)) await mkdir(folder, { recursive: true })
  if (bounded?.inputs !== undefined && Object.keys(plan.sources).length > 1) {
    throw new MillraceError('WRONG_USAGE', {
      at: plan.name,
      message: `files cannot say to which of its sources they belong: ${Object.keys(plan.sources).join(', ')}`,
      hint: 'put their messages into the topics, and run without --input',
    })
  }
  for (const request of bounded === undefined
    ? await interruptedRuns(runsFolder(config.dataDirectory), plan.name)
    : []) {
    log.warn('a bounded run was interrupted, and what it has read is not in the tables until it is given again', {
      pipeline: plan.name,
      run: request,
    })
  }
  const archive = system.archive?.(config.settings)
  const spool = join(spoolFolder(config.dataDirectory), plan.name, `${process.pid}-${randomBytes(4).toString('hex')}`)
  using session = await duck.connect()
  await using topics = await openTopics(config)
  const openReader = async ([id, source]: [string, Source]): Promise<SourceReader> => {
    if (letters !== undefined) return await openLettersReader({ ...letters, id, source, store, spool })
    const committed = async () => await store.committed(plan.name)
    if (run.openElsewhere !== undefined) return await run.openElsewhere(id, { sql: session, committed })
    const inputs = bounded?.inputs && { paths: bounded.inputs, again: bounded.again }
    const files = {
      id,
      spool,
      sql: session,
      apart: (share: number) => duck.apart(share),
      signal,
      known: (ids: string[]) => store.files(plan.name, id, ids),
      onLeftAlone: (path: string, why: string) => log.warn('left alone', { pipeline: plan.name, path, why }),
      onProblem: run.onProblem ?? ((problem: MillraceError) => log.error(problem.toString())),
    }
    switch (source.is) {
      case 'files':
        return await sources.files({ ...files, source, ...(inputs ? { inputs } : {}) })
      case 'topic':
        if (inputs !== undefined) return await sources.filesForTopic({ ...files, source, inputs })
        return await sources.topic({
          id,
          source,
          unread: unreadColumns(plan, id),
          reader: await topics.openReader(source.topic, { pipeline: plan.name, signal }),
          bounded: bounded !== undefined,
          positions: async () => (await committed()).positions,
          spool,
          sql: session,
          onLost: (problem) => log.warn(problem.toString(), { pipeline: plan.name }),
        })
    }
  }
  return await runPipeline({
    plan,
    store,
    duck,
    spool,
    openReader: async () => severalReaders(await Promise.all(Object.entries(plan.sources).map(openReader))),
    effects: { quarantine: system.quarantine?.(config.settings), logs: join(config.dataDirectory, 'logs') },
    archive: archive && { archive, records: join(config.dataDirectory, 'archived', plan.name) },
    publish: {
      openWriter: (topic, signal) => topics.openWriter(topic, { signal }),
      mostRows: config.outboxMaxRows,
      patienceMs: publishPatienceMs,
    },
    ...(bounded !== undefined && takesWholeKeys(plan) ? { keyed: keyedRunOf(bounded, config) } : {}),
    limits: { rows: config.batchMaxRows, bytes: config.batchMaxBytes },
    intervalMs: config.batchIntervalMs,
    owner: ownerName(),
    kind: letters !== undefined ? 'replay' : bounded !== undefined ? 'backfill' : 'stream',
    bounded: bounded !== undefined || letters !== undefined,
    final: bounded?.final === true,
    log,
    signal,
    ...(run.onProgress ? { onProgress: run.onProgress } : {}),
    ...(run.watch ? { watch: run.watch } : {}),
    rest: run.rest,
  })
}

// In words, for an interrupted run goes on only when the same is asked for again.
function keyedRunOf({ inputs, final, again, output }: NonNullable<SystemRun['bounded']>, config: Config) {
  const paths = inputs === undefined ? 'what is there' : inputs.map((path) => resolve(path)).join(', ')
  const request = `${paths}${final === true ? ' --final' : ''}${again ? ' --again' : ''}${output === undefined ? '' : ` --output ${resolve(output)}`}`
  const folder = runsFolder(config.dataDirectory)
  // larger than any other batch, unless somebody has said how large they may be
  const isSet = config.resolved.some(({ name, from }) => name === 'BATCH_MAX_ROWS' && from !== 'default')
  return {
    folder,
    request,
    rows: isSet ? config.batchMaxRows : rowsAtOnce,
    output: output === undefined ? undefined : resolve(output),
  }
}

/** The plan for these settings. Its folders are absolute: a relative one lies under MILLRACE_DATA, wherever we were called. */
export function planOf(system: System, { settings, dataDirectory }: Config): Plan {
  const plan = system.plan(settings)
  const placed = <Place extends { folder: string }>(place: Place): Place => ({
    ...place,
    folder: resolve(dataDirectory, place.folder),
  })
  return {
    ...plan,
    sources: Object.fromEntries(
      Object.entries(plan.sources).map(([id, source]) => [id, source.is === 'files' ? placed(source) : source]),
    ),
    steps: plan.steps.map((step) => (step.op === 'files' ? placed(step) : step)),
  }
}

/** Who owns a lease, as status shows it: the process. What tells two workers of one process apart is the epoch. */
export function ownerName(): string {
  return `${hostname()}:${process.pid}`
}

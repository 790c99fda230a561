/**
 * A bounded run on Spark, top to bottom: list the files, make a view of each step, let Spark write what goes into each
 * table beside the table, and merge all of it in one transaction with the run's line in the ledger. A run that dies before
 * that has changed nothing; the same run again finds its files read when it had not.
 */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { sparkName, sparkText } from '../functions/spark-type.ts'
import { endOfTime, type Plan, planHash, takesInputRows } from '../plan/plan.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { FileProgress, SinkOutcome, StagedRows, StoredFile, Verdicts } from '../store/store.ts'
import { SparkSession } from './connect.ts'
import { filesToRead, listFiles, type OpenedFiles, openFiles, progressOf, type SparkFile } from './inputs.ts'
import { refusals, type SparkPlan, sparkPlan, textsName } from './plan-sql.ts'
import { howFar, type SparkProgress } from './progress.ts'
import { sessionSettings } from './settings.ts'
import { lineSql, linesColumns, noRowsSql, place, textsSql, typedColumns } from './source-sql.ts'

export interface SparkRun {
  plan: Plan
  remote: string
  inputs: string[]
  again: boolean
  /** Nothing follows: what every run on Spark takes for granted, and has to be told. */
  final: boolean
  signal: AbortSignal
  /** How long a server that does not answer is waited for. */
  waitMs?: number
  onProgress?: (step: string, progress: SparkProgress | undefined) => void
  now?: () => number
}

export interface SparkOutcome {
  run: string
  books: Verdicts
  files: number
  filesQuarantined: number
  problems: MillraceError[]
  /** Of each table, by its step. */
  rowsOut: Record<string, number>
}

/** How often a run begins anew because the server has lost its session. */
const mostTries = 3

/** Into the tables of the plan. `databaseUrl` is how Spark reaches the database. */
export async function runIntoTables(
  run: SparkRun,
  into: { store: PostgresStore; databaseUrl: string; owner: string },
): Promise<SparkOutcome> {
  const { plan, signal } = run
  const { store, owner } = into
  checkRun(run)
  await store.register(plan)
  const lost = new AbortController()
  const answer = await store.lease({
    pipeline: plan.name,
    owner,
    borrow: true,
    signal,
    onWanted: () => {},
    onLost: (why) => lost.abort(new MillraceError('LEASE_LOST', { at: plan.name, message: why })),
  })
  if (answer.is === 'held')
    throw new MillraceError('LEASE_HELD', {
      at: plan.name,
      message: `${answer.by} owns the pipeline, and has not lent it`,
    })
  const { lease } = answer
  const onProgress: SparkRun['onProgress'] = (step, progress) => {
    lease.says(`on Spark, ${step}${progress === undefined ? '' : `, ${howFar(progress)}`}`)
    run.onProgress?.(step, progress)
  }
  try {
    return await anew(
      { ...run, onProgress, signal: AbortSignal.any([signal, lost.signal]) },
      async (session, ready) => {
        const { batch, watermark } = await store.committed(plan.name)
        // of runs that died; the lease says that none is under way
        await store.unstage(plan.name)
        const known = async (source: string, ids: string[]) => await store.files(plan.name, source, ids)
        const chosen = await chooseFiles(session, ready, known)
        if (chosen.files.length === 0) return nothingToDo(chosen)
        checkFresh(plan, watermark)
        const startedAt = new Date(ready.now?.() ?? Date.now())
        const staged = await store.stage(
          chosen.run,
          chosen.made.tables.map(({ step }) => step),
          jdbcOptions(into.databaseUrl)['user'],
        )
        try {
          await failpoint('spark begun')
          const counts = await compute(session, ready, chosen, String(batch + 1))
          await writeStaging(session, ready, chosen.made, staged, into.databaseUrl, counts.dead)
          await mustBeUnchanged(session, ready, chosen, 'nothing of the run is in the tables')
          await failpoint('spark staged')
          let books = booksOf(plan, counts, [])
          const { rowsOut } = await store.commit({
            pipeline: plan.name,
            epoch: lease.epoch,
            batch: batch + 1,
            kind: 'spark',
            startedAt,
            sinks: [],
            staged,
            deadLetters: undefined,
            dedupKeys: undefined,
            files: chosen.progress,
            positions: [],
            watermark: keepsTime(plan) ? endOfTime : undefined,
            filesQuarantined: chosen.opened.quarantined.length,
            ranges: [{ run: chosen.run, files: chosen.files.length }],
            settles: [],
            phases: {},
            stepRows: {},
            books: async (outcomes) => {
              books = booksOf(plan, counts, outcomes)
              return books
            },
          })
          return {
            ...outcomeOf(chosen, books),
            rowsOut: Object.fromEntries(
              Object.entries(rowsOut).map(([step, { inserted, updated }]) => [step, inserted + updated]),
            ),
          }
        } finally {
          await store.unstage(chosen.run)
        }
      },
    )
  } finally {
    await lease.release()
  }
}

/** Into Parquet, a folder for each table, without a database. */
export async function runIntoParquet(run: SparkRun, folder: string): Promise<SparkOutcome> {
  checkRun(run)
  return await anew(run, async (session, ready) => {
    const chosen = await chooseFiles(session, { ...ready, again: true }, async () => new Map())
    const counts = await compute(session, ready, chosen, '1')
    const rowsOut: Record<string, number> = {}
    for (const { step, select } of chosen.made.tables) {
      ready.onProgress?.(`writing ${step.table}`, undefined)
      const path = join(folder, step.table)
      await session.write({ sql: select, format: 'parquet', options: {}, path })
      rowsOut[step.id] = Number((await oneRow(session, `select count(*) as n from parquet.\`${path}\``))['n'])
    }
    ready.onProgress?.('writing dead letters', undefined)
    const letters = lettersOf(chosen.made)
    // without any, those of a run before must go all the same
    const sql = counts.dead > 0 ? letters : `select * from (\n${letters}\n) where false`
    await session.write({ sql, format: 'parquet', options: {}, path: join(folder, 'dead_letters') })
    await mustBeUnchanged(session, ready, chosen, `what is in ${folder} may be of two states of it`)
    const taken = ways(run.plan)
    const outcomes = taken.map((step) => ({ ...noOutcome(step), inserted: rowsOut[step] ?? 0 }))
    return { ...outcomeOf(chosen, booksOf(run.plan, counts, outcomes)), rowsOut }
  })
}

// ---- before Spark is asked -----------------------------------------------------------------------------------------

function checkRun({ plan, final, inputs }: SparkRun): void {
  sparkPlan(plan)
  if (inputs.length === 0) {
    throw new MillraceError('WRONG_USAGE', {
      at: plan.name,
      message: 'Spark reads files where they lie, and none are named',
      hint: 'name them: --input PATH, a file, a folder or a pattern that the Spark server can read',
    })
  }
  if (keepsTime(plan) && !final) {
    throw new MillraceError('WRONG_USAGE', {
      at: plan.name,
      message:
        'on Spark nothing is kept for rows that may follow: windows are closed and opens expire at the end of the run',
      hint: 'say so with --final',
    })
  }
}

// What is kept of open windows and pairs is not read there.
function checkFresh(plan: Plan, watermark: number | undefined): void {
  if (watermark === undefined || !keepsTime(plan)) return
  throw new MillraceError('WRONG_USAGE', {
    at: plan.name,
    message: 'it has run before: its event time stands, and Spark would count over what has been counted',
    hint: `forget what it has read with: millrace reset ${plan.name} --results`,
  })
}

function keepsTime(plan: Plan): boolean {
  return plan.steps.some(({ op }) => op === 'window' || op === 'pairs')
}

/** Why a plan does not run on Spark; nothing when it does. */
export { refusals }

// ---- on Spark ------------------------------------------------------------------------------------------------------

interface Chosen {
  run: string
  files: SparkFile[]
  problems: MillraceError[]
  opened: OpenedFiles
  /** By source. */
  typed: ReadonlyMap<string, ReadonlySet<string>>
  progress: FileProgress[]
  made: SparkPlan
}

// From the beginning, with another session, when a server was started anew under it.
async function anew<Result>(
  run: SparkRun,
  work: (session: SparkSession, run: SparkRun) => Promise<Result>,
): Promise<Result> {
  for (let tries = 1; ; tries++) {
    let doing = ''
    const ready: SparkRun = {
      ...run,
      onProgress: (step, progress) => {
        doing = step
        run.onProgress?.(step, progress)
      },
    }
    try {
      await using session = await SparkSession.open({
        remote: run.remote,
        signal: run.signal,
        ...(run.waitMs === undefined ? {} : { waitMs: run.waitMs }),
        onProgress: (progress) => run.onProgress?.(doing, progress),
      })
      await session.configure(sessionSettings)
      await checkServer(session)
      return await work(session, ready)
    } catch (error) {
      const isLost = error instanceof MillraceError && error.code === 'SPARK_SESSION_LOST'
      if (!isLost || tries >= mostTries) throw error
      run.onProgress?.('beginning anew: the Spark server has lost the session', undefined)
    }
  }
}

/** What a server must have; errors: SPARK_FAILED. */
export async function checkServer(session: SparkSession): Promise<void> {
  const version = await session.version()
  if (Number(version.split('.')[0]) < 4) {
    throw new MillraceError('SPARK_FAILED', {
      message: `the server is Spark ${version}, and 4 or later is needed`,
      hint: 'start a Connect server of Spark 4',
    })
  }
  // parts of Spark read JSON in the encoding of the machine
  const [row] = await session.rows<{ ok: boolean }>(`select variant_get(parse_json('"é"'), '$', 'string') = 'é' as ok`)
  if (row?.ok !== true) {
    throw new MillraceError('SPARK_FAILED', {
      message: 'the Spark server does not read texts as UTF-8',
      hint: 'start it with LC_ALL=C.UTF-8, or with -Dfile.encoding=UTF-8 in spark.driver.extraJavaOptions and spark.executor.extraJavaOptions',
    })
  }
}

async function chooseFiles(
  session: SparkSession,
  run: SparkRun,
  knownIn: (source: string, ids: string[]) => Promise<Map<string, StoredFile>>,
): Promise<Chosen> {
  const { plan, again } = run
  run.onProgress?.('listing files', undefined)
  const listed = await listFiles(session, plan, run.inputs)
  const files: SparkFile[] = []
  const problems: MillraceError[] = []
  for (const source of Object.keys(plan.sources)) {
    const own = listed.filter((file) => file.source === source)
    const known = await knownIn(
      source,
      own.map(({ path }) => path),
    )
    const chosen = filesToRead(own, known, again)
    files.push(...chosen.read)
    problems.push(...chosen.problems)
  }
  const opened = await openFiles(session, plan, files)
  const progress = progressOf(files, opened.quarantined, new Date(run.now?.() ?? Date.now()))
  const typed = new Map(
    Object.entries(plan.sources).map(([id, source]) => {
      const inputs = opened.inputs.filter((input) => input.source === id)
      return [id, typedColumns(source, inputs)]
    }),
  )
  return { run: nameOf(plan, files), files, problems, opened, typed, progress, made: sparkPlan(plan, typed) }
}

// Files are read several times over: one that changed in between has been read as two.
async function mustBeUnchanged(session: SparkSession, run: SparkRun, { files }: Chosen, left: string): Promise<void> {
  const now = new Map((await listFiles(session, run.plan, run.inputs)).map((file) => [file.path, file]))
  for (const { path, size, mtimeNs } of files) {
    const found = now.get(path)
    if (found !== undefined && found.size === size && found.mtimeNs === mtimeNs) continue
    throw new MillraceError('FILE_CHANGED', {
      at: path,
      message: found === undefined ? 'the file went while it was read' : 'the file changed while it was read',
      hint: `${left}: start it again when the file is complete`,
    })
  }
}

// The same files are the same run.
function nameOf(plan: Plan, files: readonly SparkFile[]): string {
  const hash = createHash('sha256').update(planHash(plan))
  for (const { source, path, size, mtimeNs } of files)
    hash.update(JSON.stringify([source, path, size, String(mtimeNs)]))
  return `${plan.name} ${hash.digest('hex').slice(0, 16)}`
}

interface Counts {
  rowsIn: number
  dead: number
  filtered: number
  events: number
  keptEvents: number
}

// Makes the views, and asks the numbers of the books.
async function compute(
  session: SparkSession,
  run: SparkRun,
  { made, opened, typed }: Chosen,
  batch: string,
): Promise<Counts> {
  const { plan } = run
  for (const [id, source] of Object.entries(plan.sources)) {
    const inputs = opened.inputs.filter((input) => input.source === id)
    const parts: string[] = []
    for (const [i, input] of inputs.entries()) {
      const lines = sparkName(`${id} lines ${i}`)
      const format = input.format.is === 'parquet' ? 'parquet' : 'text'
      const options = format === 'parquet' ? { mergeSchema: 'true' } : {}
      await session.viewOfFiles(lines, { format, paths: input.paths, options, columns: linesColumns(input) })
      parts.push(textsSql(source, input, lines, batch, typed.get(id)))
      if (input.header !== undefined) parts.push(...(await headersWithin(session, source.columns, input.header, lines)))
    }
    await session.view(
      textsName(id),
      parts.length === 0 ? noRowsSql(source) : parts.map((part) => `(${part})`).join('\nunion all\n'),
    )
  }
  for (const { name, select, kept } of made.views) {
    await session.view(name, select)
    if (kept) {
      run.onProgress?.(name, undefined)
      await session.keep(name)
    }
  }
  const sums: Record<string, number> = {}
  for (const { select, of } of made.counts) {
    run.onProgress?.(`counting ${of.map((each) => each.replaceAll('_', ' ')).join(', ')}`, undefined)
    const row = await oneRow(session, select)
    for (const name of of) sums[name] = (sums[name] ?? 0) + Number(row[name])
  }
  const sum = (name: string): number => sums[name] ?? 0
  return {
    rowsIn: sum('rows_in'),
    dead: sum('dead'),
    filtered: sum('filtered'),
    events: sum('events'),
    keptEvents: sum('kept_events'),
  }
}

// A header that stands in a file once more is a row like any other.
async function headersWithin(
  session: SparkSession,
  columns: Plan['sources'][string]['columns'],
  header: { line: string; names: string[] },
  lines: string,
): Promise<string[]> {
  const again = await session.rows<{ file: string; more: bigint }>(
    `select ${place} as file, count(*) - 1 as more from ${lines} where ${lineSql} = ${sparkText(header.line)} group by _file having count(*) > 1`,
  )
  return again.map(({ file, more }) => {
    const texts = columns.map(({ name }) => {
      const at = header.names.indexOf(name)
      return at < 0 ? 'cast(null as string)' : sparkText(header.names[at] ?? '')
    })
    return `select ${sparkText(file)}, ${sparkText(header.line)}, cast(null as string), cast(null as string), ${texts.join(', ')} from range(${more})`
  })
}

async function writeStaging(
  session: SparkSession,
  run: SparkRun,
  made: SparkPlan,
  staged: StagedRows,
  databaseUrl: string,
  dead: number,
): Promise<void> {
  const write = async (sql: string, table: string): Promise<void> => {
    await session.write({ sql, format: 'jdbc', options: { ...jdbcOptions(databaseUrl), dbtable: table } })
  }
  for (const { step, select } of made.tables) {
    const into = staged.tables.find((each) => each.step.id === step.id)
    if (into === undefined) continue
    run.onProgress?.(`writing ${step.table}`, undefined)
    await write(select, into.table)
  }
  if (dead === 0) return
  run.onProgress?.('writing dead letters', undefined)
  await write(lettersOf(made), staged.deadLetters)
}

function lettersOf({ deadLetters }: SparkPlan): string {
  // several sources number their letters apart
  return deadLetters
    .map((select, i) => `select * except (_n), _n * ${deadLetters.length} + ${i} as _n from (${select})`)
    .join('\nunion all\n')
}

/** How Spark's writer reaches Postgres: texts take the type of their column, and rows go many at a time. */
export function jdbcOptions(databaseUrl: string): Record<string, string> {
  const url = new URL(databaseUrl)
  const options = new URLSearchParams(url.search)
  options.set('stringtype', 'unspecified')
  options.set('reWriteBatchedInserts', 'true')
  return {
    url: `jdbc:postgresql://${url.host}${url.pathname}?${options}`,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    driver: 'org.postgresql.Driver',
    batchsize: '10000',
  }
}

async function oneRow(session: SparkSession, select: string): Promise<Record<string, unknown>> {
  const [row] = await session.rows<Record<string, unknown>>(select)
  return row ?? {}
}

// ---- the books -----------------------------------------------------------------------------------------------------

/** The steps whose tables take input rows once per key. */
function ways(plan: Plan): string[] {
  return plan.steps.flatMap((step) =>
    step.op === 'table' && step.mode.is === 'insert if new' && takesInputRows(plan, step) ? [step.id] : [],
  )
}

function booksOf(plan: Plan, counts: Counts, outcomes: readonly SinkOutcome[]): Verdicts {
  const { rowsIn, dead } = counts
  const pairs = plan.steps.some(({ op }) => op === 'pairs')
  // they go one way, and all of them
  const good = rowsIn - dead - counts.filtered
  let filtered = counts.filtered
  let duplicates = 0
  if (pairs) {
    // what is no event of the pairs goes no further than to them
    filtered += good - counts.events
    duplicates = counts.events - counts.keptEvents
  } else {
    for (const step of ways(plan)) {
      const outcome = outcomes.find((each) => each.step === step)
      if (outcome !== undefined) duplicates += good - outcome.inserted
    }
  }
  return { rowsIn, written: rowsIn - dead - filtered - duplicates, filtered, duplicates, late: 0, dead }
}

function noOutcome(step: string): SinkOutcome {
  return { step, inserted: 0, updated: 0, deleted: 0, duplicates: 0, duplicateOrdinals: [] }
}

function outcomeOf({ run, files, problems, opened }: Chosen, books: Verdicts): Omit<SparkOutcome, 'rowsOut'> {
  return { run, books, problems, files: files.length, filesQuarantined: opened.quarantined.length }
}

function nothingToDo(chosen: Chosen): SparkOutcome {
  const books: Verdicts = { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 }
  return { ...outcomeOf(chosen, books), rowsOut: {} }
}

/** Where the summary of a run into Parquet lies. */
export async function writeSummary(folder: string, outcome: SparkOutcome): Promise<void> {
  await mkdir(folder, { recursive: true })
  const { run, books, rowsOut, filesQuarantined } = outcome
  await writeFile(
    join(folder, 'books.json'),
    `${JSON.stringify({ run, ...books, rowsOut, filesQuarantined }, null, 2)}\n`,
  )
}

/**
 * The story of a batch, top to bottom: stage the bytes of a range, part good rows from bad, let the operators work,
 * commit. Staging and the steps that need nothing but the batch run while the batch before is being committed.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { keyedName } from '../operators/dedup.ts'
import type { Relation } from '../operators/operator.ts'
import { checkedName, uncheckedSql } from '../operators/validate.ts'
import { identifier } from '../plan/identifier.ts'
import { type FilesStep, type Plan, type Step, type TableStep, type TopicStep, takesInputRows } from '../plan/plan.ts'
import { removeFile } from '../remove-file.ts'
import { copySql, deletedName, keysSql, keyTooLongName, quotedColumns, rowsToPrint } from '../sinks/table.ts'
import type { Range } from '../sources/source.ts'
import {
  type BatchKind,
  type CommitOutcome,
  type Position,
  RowsRefused,
  type SinkOutcome,
  type Store,
} from '../store/store.ts'
import {
  branches,
  type Counted,
  countBatch,
  deletes,
  handedOn,
  landedSql,
  rowsOf,
  settleVerdicts,
  toCount,
} from './books.ts'
import type { DuckSession } from './duckdb.ts'
import { type ExchangePlace, keepRows, type Left, leaveRows } from './exchange.ts'
import { fileSinks, writePending } from './file-sink.ts'
import type { KeyFilter } from './key-filter.ts'
import { type Asking, fetchKept, type PrintedKeyed, printKept, printWanted, type Wanted } from './keyed.ts'
import { fetchSeenKeys, findKnownKeys, printDedupKeys } from './keys.ts'
import { messagesToPrint, type PrintedMessages, topicSinks } from './outbox.ts'
import { OwnPlace, type Place, type Rooms } from './place.ts'
import { printDeadLetters, printLateRows } from './print-letters.ts'
import { type Printed, Printing, printRows } from './printing.ts'
import { passDedupAgain, takeOut } from './refused-rows.ts'
import {
  type BatchTime,
  isStateless,
  type Names,
  noTime,
  planForSource,
  relationNames,
  relationsOf,
} from './relations.ts'
import { printRequests } from './requests.ts'
import type { Exchange } from './stages.ts'
import { type PrintedState, printState } from './state.ts'
import { tellStored } from './stored-rows.ts'
import type { Seen, Watermarks } from './watermark.ts'

/** What a batch needs of the worker that runs it. */
export interface BatchTools {
  plan: Plan
  /** Of a plan that has event time. A dry run has none, and goes as far as the windows. */
  time?: { watermarks: Watermarks; state: string } | undefined
  store: Store
  /** A DuckDB connection for this half of the work. */
  session: DuckSession
  /** Where rows pass between DuckDB and Postgres. */
  spool: string
  /** Keeps the relations of a dry run apart from those of workers and of others. */
  apart?: string
  /** Of a worker that keeps the plans of its statements. */
  rooms?: Rooms | undefined
  /** What this worker has written to each table, by step. */
  filters: Map<string, KeyFilter>
  /** Of a run that may have all there is of its keys, with nothing stored: nothing is asked for before that is known. */
  wholeKeys?: boolean
  /** Where it is known before its rows are, how the batch stands in time: it waits for no other then. */
  stands?: BatchTime | undefined
  /** Of a run in stages: what the batch leaves for the next. */
  leaves?: { exchanges: readonly Exchange[]; place: ExchangePlace }
}

export interface Batch {
  number: number
  /** The steps that it has rows for. */
  plan: Plan
  range: Range
  time: BatchTime
  /** What its rows have shown of event time. */
  seen: Seen[]
  place: Place
  names: Names
  startedAt: Date
  phases: Record<string, number>
  /** How many rows are in the tables that its steps have made, by name. */
  made: Map<string, number>
  /** How many rows other relations have, as far as somebody has asked. */
  counts: Map<string, number>
  /** Steps that have run. */
  done: Set<string>
  /** Of steps that wait for what is stored, how many of their relations are made. */
  begun: Map<string, number>
  /** What they want of it, printed. */
  wanted: Wanted | undefined
  /** What is asked for and not printed yet. */
  printing: Printing
  sinks: { step: TableStep; rows: Printed; fresh: Printed | undefined; deleted: Printed | undefined }[]
  /** Of topics that need not wait for what a table takes. */
  messages: PrintedMessages[]
  deadLetters: Printed | undefined
  dedupKeys: Printed | undefined
  lateRows: Printed | undefined
  state: PrintedState | undefined
  keyed: PrintedKeyed | undefined
  left: Left[]
  /** Files of what the store has told, which statements that wait may still read. */
  told: string[]
  /** Tasks that it asks for. */
  requests: Printed | undefined
  /** When every step has run. What the store finds there already comes in the commit. */
  counted: Counted | undefined
  release(): Promise<void>
}

/** Stages a range and runs every step that needs nothing but the batch: all of them where nothing is stored of its keys. */
export async function stageBatch(whole: BatchTools, number: number, range: Range, startedAt: Date): Promise<Batch> {
  const { session, time } = whole
  const named = whole.apart === undefined ? String(number) : `${whole.apart} ${number}`
  const place = whole.rooms?.roomFor(session, range) ?? new OwnPlace(session, whole.plan.name, named)
  const names = relationNames(whole.plan, place.schema, time?.state, range.where.lacks)
  const plan = planForSource(whole.plan, range.source)
  const tools = { ...whole, plan }
  const batch: Batch = {
    number,
    plan,
    range,
    time: { ...noTime, few: place.again },
    seen: [],
    place,
    names,
    made: new Map(),
    counts: new Map(),
    startedAt,
    phases: { ...range.phases },
    done: new Set(),
    begun: new Map(),
    wanted: undefined,
    printing: new Printing({ session, spool: whole.spool, few: place.again }),
    sinks: [],
    messages: [],
    deadLetters: undefined,
    dedupKeys: undefined,
    lateRows: undefined,
    state: undefined,
    keyed: undefined,
    left: [],
    told: [],
    requests: undefined,
    counted: undefined,
    async release() {
      // whatever cannot be let go, the rest is
      await using stack = new AsyncDisposableStack()
      stack.defer(() => range.release())
      stack.defer(() => place.leave())
      for (const path of batch.told) stack.defer(() => removeFile(path))
      stack.defer(() => releasePrinted(batch))
    },
  }
  try {
    await timed(batch, 'read', async () => {
      await place.enter()
      if (range.source !== undefined) await stageRows(tools, batch, range.source)
    })
    await failpoint('staged')
    const { stands } = tools
    if (stands !== undefined) batch.time = await place.tell(stands)
    const asked = await runReady(tools, batch, (step) => stands !== undefined || isStateless(step))
    if (asked.length > 0) batch.wanted = await timed(batch, 'keys', () => printWanted(tools, batch, asked))
    await failpoint('validated')
    return batch
  } catch (error) {
    // nobody else knows of it yet
    await batch.release().catch(() => {})
    throw error
  }
}

/** Runs the steps that need stored state, once the batch before is committed, and it is known how time stands. */
export async function operateBatch(tools: BatchTools, batch: Batch, time: BatchTime = noTime): Promise<void> {
  batch.time = await batch.place.tell(time)
  if (batch.counted === undefined) await runSteps({ ...tools, plan: batch.plan }, batch)
}

/**
 * Commits a batch, without the rows that the database refuses; it can be called again with another epoch when the
 * database failed.
 */
export async function commitBatch(
  tools: BatchTools,
  batch: Batch,
  epoch: number,
  kind: BatchKind,
): Promise<CommitOutcome> {
  const own = { ...tools, plan: batch.plan }
  for (;;) {
    try {
      return await commitAll(own, batch, epoch, kind)
    } catch (error) {
      if (!(error instanceof RowsRefused)) throw error
      await takeOut(own, batch, error.rows)
      await startAgain(own, batch)
    }
  }
}

async function commitAll(tools: BatchTools, batch: Batch, epoch: number, kind: BatchKind): Promise<CommitOutcome> {
  const { plan, session, store } = tools
  const ordinals = branches(plan)
  const { counted } = batch
  const late: PrintedMessages[] = []
  if (counted === undefined)
    throw new MillraceError('INVALID_PLAN', { message: 'a batch is committed after its steps have run' })
  const committing = store.commit({
    pipeline: plan.name,
    epoch,
    batch: batch.number,
    kind,
    startedAt: batch.startedAt,
    sinks: batch.sinks.map(({ step, rows, fresh, deleted }) => ({
      step,
      rows,
      deleted,
      ...(fresh ? { fresh } : {}),
      ordinals,
    })),
    deadLetters: batch.deadLetters,
    dedupKeys: batch.dedupKeys,
    lateRows: batch.lateRows,
    state: batch.state,
    keyed: batch.keyed,
    requests: batch.requests,
    files: batch.range.files,
    positions: positionsOf(tools, batch),
    watermark: batch.time.after,
    filesQuarantined: batch.range.filesQuarantined,
    ranges: batch.range.ranges,
    settles: batch.range.settles,
    stepRows: counted.stepRows,
    phases: Object.fromEntries(Object.entries(batch.phases).map(([phase, ms]) => [phase, Math.round(ms)])),
    books: async (outcomes) => {
      if (batch.names.refused.size > 0 && (await passDedupAgain(tools, batch, true))) throw new RowsRefused([])
      if (tools.leaves !== undefined) await keepRows(batch.left, tools.leaves.place, epoch, batch.number)
      for (const step of fileSinks(plan)) {
        const rows = sinkRowsSql(batch, step, outcomes)
        const ordered = !batch.time.atOnce || takesInputRows(plan, step)
        await writePending(session, tools.spool, plan, step, { rows, epoch, number: batch.number, ordered })
      }
      return await settleVerdicts(session, plan, batch.names, batch.range, counted.verdicts, outcomes)
    },
    outbox: async (outcomes) => {
      for (const step of topicSinks(plan).filter(({ landedIn }) => landedIn !== undefined)) {
        const rows = sinkRowsSql(batch, step, outcomes)
        const asked = messagesToPrint(step, { rows, name: batch.place.name })
        late.push({
          step: step.id,
          rows: await printRows({ session, spool: tools.spool, few: batch.place.again }, asked),
        })
      }
      return [...batch.messages, ...late]
    },
  })
  return await committing.finally(async () => {
    for (const { rows } of late) await rows.release()
  })
}

/** Where the source stands after a batch, and how far event time has come in its partitions. */
export function positionsOf({ time }: BatchTools, { range, seen }: Batch): Position[] {
  const { source, positions } = range
  if (time === undefined || source === undefined) return positions
  const shown = time.watermarks.partitionsAfter(source, seen)
  const watermarkOf = (name: string): number | undefined => shown.find(({ partition }) => partition === name)?.watermark
  const others = shown.filter(({ partition }) => !positions.some((position) => position.partition === partition))
  return [
    ...positions.map((position) => ({ ...position, watermark: watermarkOf(position.partition) })),
    ...others.map(({ partition, watermark }) => ({ source, partition, position: 0, watermark })),
  ]
}

function sinkRowsSql({ names }: Batch, step: FilesStep | TopicStep, outcomes: SinkOutcome[]): string {
  const all = `select * from ${names.into(step)}`
  if (step.landedIn === undefined) return all
  const outcome = outcomes.find((candidate) => candidate.step === step.landedIn)
  return `${all}\nwhere _row in (${landedSql(names.of(step.landedIn), outcome)})`
}

// The rows are checked as they are read: they lie in memory once, with their texts and their values.
async function stageRows({ plan, session, time }: BatchTools, batch: Batch, source: string): Promise<void> {
  const { names, range, number, place } = batch
  const { texts } = range
  const given = `${place.schema}.given`
  if (texts !== undefined) await tellStored(batch, given, texts)
  const rows = range.select(number, texts && given)
  const step = plan.steps.find((each) => each.op === 'validate' && each.from.includes(source))
  if (step === undefined) {
    // another batch has checked them
    await place.make({ name: names.staged, as: place.again ? 'table' : 'view', select: rows })
    return
  }
  if (step.op !== 'validate') throw new MillraceError('INVALID_PLAN', { message: 'nothing reads the source' })
  const arrived = !place.again ? `(\n${rows}\n)` : `${place.schema}.${texts === undefined ? 'arrived' : 'given_rows'}`
  // what names files may have to be planned each time, and so is kept small
  if (place.again) await place.make({ name: arrived, as: texts === undefined ? 'table' : 'view', select: rows })
  const [checked] = relationsOf(plan, step, { ...names, into: () => arrived })
  if (checked !== undefined) await place.make(checked)
  await place.make({ name: names.staged, as: 'view', select: uncheckedSql(step, names.of(step.id)) })
  // rows that come again belong to no partition's order
  if (time === undefined || step.eventTime === undefined || range.settles.length > 0) return
  const us = `epoch_us(${identifier(step.eventTime.column)})`
  const latest = async (value: string): Promise<{ partition: string; latest: string | null }[]> =>
    await session.rows(
      // to group few rows takes as long as all the rest
      `select partition::varchar as partition, latest::varchar as latest
from (
  select ${range.where.partition} as partition, ${place.again ? value : `max(${value})`} as latest
  from ${checkedName(names.of(step.id))} s
  where _failed is null${place.again ? '' : '\n  group by all'}
)`,
    )
  // an event time too far ahead of the clock is not trusted, though its row is taken
  const trusted = BigInt(Math.round(time.watermarks.trustedUntil(source))) * 1000n
  const all = await latest(us)
  const isTrusted = all.every((each) => each.latest === null || BigInt(each.latest) <= trusted)
  const shown = isTrusted ? all : await latest(`case when ${us} <= ${trusted} then ${us} end`)
  const seen = new Map<string, number | undefined>()
  for (const { partition, latest: at } of shown) {
    const before = seen.get(partition)
    const ms = at === null ? before : Math.floor(Number(at) / 1000)
    seen.set(partition, ms === undefined || before === undefined ? ms : Math.max(before, ms))
  }
  batch.seen = [...seen].map(([partition, latest]) => ({ partition, latest }))
}

async function runSteps(tools: BatchTools, batch: Batch): Promise<void> {
  const { plan, session } = tools
  for (;;) {
    const { wanted } = batch
    if (wanted !== undefined) await timed(batch, 'keys', () => fetchKept(tools, batch, wanted))
    batch.wanted = undefined
    const asked = await runReady(tools, batch, () => true)
    if (asked.length === 0) break
    batch.wanted = await timed(batch, 'keys', () => printWanted(tools, batch, asked))
  }
  // in the order of the plan, whatever could be made first
  const placeOf = (step: string): number => plan.steps.findIndex(({ id }) => id === step)
  batch.sinks.sort((a, b) => placeOf(a.step.id) - placeOf(b.step.id))
  batch.messages.sort((a, b) => placeOf(a.step) - placeOf(b.step))
  // nobody is asked in a dry run
  if (await passDedupAgain(tools, batch, tools.apart !== undefined)) return await startAgain(tools, batch)
  for (const sink of batch.sinks) sink.deleted = printDeleted(plan, batch, sink.step)
  batch.dedupKeys = printDedupKeys(tools, batch)
  batch.state = printState(plan, batch)
  batch.keyed = printKept(tools, batch)
  batch.requests = printRequests(tools, batch)
  batch.left = await timed(batch, 'exchange', () => leave(tools, batch))
  const relations = toCount(batch)
  const counts = await timed(batch, 'print', () => batch.printing.print(relations))
  for (const [i, relation] of relations.entries()) batch.counts.set(relation, counts[i] ?? 0)
  // most batches have none
  batch.deadLetters = await timed(batch, 'letters', () => printDeadLetters(tools, batch))
  batch.lateRows = await timed(batch, 'letters', () => printLateRows(tools, batch))
  await timed(batch, 'letters', () => batch.printing.print())
  batch.counted = await timed(batch, 'books', () => countBatch(session, batch, judgedLater(batch)))
}

// Runs what is fed, as far as nothing stored is needed for it that is not there: what the others want of that is answered.
// A step that is not `ready` may need what the batch before it leaves, and asks for it alone.
async function runReady(tools: BatchTools, batch: Batch, ready: (step: Step) => boolean): Promise<Asking[]> {
  const { plan } = tools
  const asked: Asking[] = []
  for (const step of plan.steps) {
    if (batch.done.has(step.id)) continue
    const fed = step.from.every(
      (id) => batch.done.has(id) || Object.hasOwn(plan.sources, id) || !plan.steps.some((each) => each.id === id),
    )
    if (!fed) continue
    const relations = relationsOf(plan, step, batch.names, batch.time)
    const begun = batch.begun.get(step.id) ?? 0
    const asking = relations.findIndex(({ fetches }, i) => i >= begun && fetches !== undefined)
    // a large batch gains nothing by it
    const early = batch.place.again && tools.wholeKeys !== true && asking >= 0
    if (!ready(step) && !early) continue
    for (const relation of relations.slice(begun, asking < 0 ? relations.length : asking + 1))
      await makeRelation(tools, batch, step, relation)
    const parts = relations[asking]?.fetches
    if (parts !== undefined) {
      batch.begun.set(step.id, asking + 1)
      asked.push({ step, parts })
      continue
    }
    if (step.op === 'table') batch.sinks.push(printSink(plan, batch, step))
    if (step.op === 'topic' && step.landedIn === undefined) {
      const messages = messagesToPrint(step, { rows: sinkRowsSql(batch, step, []), name: batch.place.name })
      batch.messages.push({ step: step.id, rows: batch.printing.add(messages) })
    }
    batch.done.add(step.id)
  }
  return asked
}

async function makeRelation(tools: BatchTools, batch: Batch, step: Step, relation: Relation): Promise<void> {
  const out = batch.names.of(step.id)
  // it was made when the rows were staged
  if (relation.name === checkedName(out)) return
  const { unless } = relation
  await timed(batch, 'operate', async () => {
    const isSimple = unless !== undefined && (await rowsOf(tools.session, batch, unless.empty)) === 0
    const rows = await batch.place.make({ ...relation, select: isSimple ? unless.select : relation.select })
    if (relation.as === 'table' && rows !== undefined) batch.made.set(relation.name, rows)
    else batch.made.delete(relation.name)
  })
  if (step.op === 'table' && relation.name === keyTooLongName(out))
    await timed(batch, 'keys', () => findKnownKeys(tools, batch, step))
  if (step.op === 'dedup' && relation.name === keyedName(out))
    await timed(batch, 'keys', () => fetchSeenKeys(tools, batch, step))
}

function printSink(plan: Plan, batch: Batch, step: TableStep): Batch['sinks'][number] {
  const print = (known: boolean): Printed =>
    batch.printing.add({
      name: `${batch.place.name}-${plan.steps.indexOf(step)}-${known ? 'known' : 'fresh'}`,
      select: copySql(step, batch.names.of(step.id), known),
      columns: step.columns.map(({ name }) => name),
      quoted: quotedColumns(step),
    })
  switch (step.mode.is) {
    case 'append':
      return { step, rows: print(false), fresh: undefined, deleted: undefined }
    case 'upsert': {
      const fresh = batch.time.atOnce ? print(false) : undefined
      return { step, rows: print(true), fresh, deleted: undefined }
    }
    case 'insert if new': {
      const some = (known: boolean): Printed =>
        batch.counts.get(rowsToPrint(batch.names.of(step.id), known)) === 0 ? noRows(step) : print(known)
      return { step, rows: some(true), fresh: some(false), deleted: undefined }
    }
  }
}

function noRows(step: TableStep): Printed {
  return { csv: { text: '' }, columns: step.columns.map(({ name }) => name), rows: 0, release: async () => {} }
}

// Keys of rows that are taken back, and that no other row has now.
function printDeleted(plan: Plan, batch: Batch, step: TableStep): Printed | undefined {
  if (step.mode.is !== 'upsert' || !deletes(batch, step)) return undefined
  const { key } = step.mode
  const columns = step.columns.filter(({ name }) => key.includes(name))
  return batch.printing.add({
    name: `${batch.place.name}-${plan.steps.indexOf(step)}-deleted`,
    select: keysSql(columns, deletedName(batch.names.of(step.id))),
    columns: columns.map(({ name }) => name),
    quoted: quotedColumns({ ...step, columns }),
  })
}

async function leave({ leaves, session, spool }: BatchTools, batch: Batch): Promise<Left[]> {
  const { plan, names, range, number, counts } = batch
  const left: Left[] = []
  for (const [i, exchange] of (leaves?.exchanges ?? []).entries()) {
    const at = join(spool, `${number}-left-${i}`)
    const rows = { from: names.of(exchange.from), staged: names.staged, where: range.where, at, number }
    const own = await leaveRows(session, exchange, { ...rows, buckets: leaves?.place.buckets ?? 1 })
    left.push(own)
    // to count them again would be to make them again; where they were joined, the count is what the books are held to
    const from = exchange.places ? undefined : plan.steps.find(({ id }) => id === exchange.from)
    if (from !== undefined) counts.set(handedOn(from, plan, names), own.rows)
  }
  return left
}

// Rows that came in and were left for the next stage: they get their verdict there.
function judgedLater({ left }: Batch): number {
  return left.reduce((sum, { exchange, rows }) => sum + (exchange.ofInput ? rows : 0), 0)
}

async function startAgain(tools: BatchTools, batch: Batch): Promise<void> {
  await releasePrinted(batch)
  batch.printing = new Printing({ session: tools.session, spool: tools.spool, few: batch.place.again })
  batch.done.clear()
  batch.begun.clear()
  batch.wanted = undefined
  batch.counts.clear()
  batch.sinks = []
  batch.messages = []
  batch.deadLetters = undefined
  batch.dedupKeys = undefined
  batch.lateRows = undefined
  batch.state = undefined
  batch.keyed = undefined
  batch.left = []
  batch.requests = undefined
  batch.counted = undefined
  await runSteps(tools, batch)
}

async function releasePrinted(batch: Batch): Promise<void> {
  const { wanted, sinks, messages, deadLetters, dedupKeys, lateRows, state, keyed, left, requests } = batch
  const rows = [
    ...sinks.flatMap(({ rows, fresh, deleted }) => [rows, fresh, deleted]),
    ...messages.map(({ rows }) => rows),
  ]
  for (const { at } of left) await rm(at, { recursive: true, force: true })
  for (const printed of [wanted?.keys, ...rows, deadLetters, dedupKeys, lateRows, state, keyed, requests])
    await printed?.release()
}

async function timed<T>(batch: Batch, phase: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now()
  try {
    return await work()
  } finally {
    batch.phases[phase] = (batch.phases[phase] ?? 0) + performance.now() - start
  }
}

/**
 * The commit of a batch in memory: everything is made ready beside what is stored, and put in place in one piece of code
 * that nothing can interrupt.
 */
import { MillraceError } from '../../errors.ts'
import { failpoint } from '../../failpoint.ts'
import { type Row, readRows } from '../csv-rows.ts'
import { letterEdited, letterSettled } from '../dead-letters.ts'
import { jsonText } from '../json-text.ts'
import {
  type BatchCommit,
  type CommitOutcome,
  type CsvRows,
  type DeadLetter,
  type NewDeadLetter,
  type RefusedRow,
  RowsRefused,
  rowsOutOf,
  type SinkOutcome,
  type Verdicts,
} from '../store.ts'
import { type MemoryDatabase, pair, type StoredPipeline } from './database.ts'
import { readKeyedChange } from './keyed-state.ts'
import { readMessages } from './outbox.ts'
import { readStateChange } from './state.ts'
import { apply, type Draft, draftOf, merge, remove } from './tables.ts'

type Letter = NewDeadLetter & { rawBytes: Buffer | null }

/** `owns` says whether the worker still holds the lease with the batch's epoch. */
export async function commitBatch(
  database: MemoryDatabase,
  pipeline: StoredPipeline,
  batch: BatchCommit,
  owns: () => boolean,
): Promise<CommitOutcome> {
  if (batch.staged !== undefined)
    throw new MillraceError('NOT_SUPPORTED', {
      at: batch.pipeline,
      message: 'tables beside tables are in Postgres alone',
    })
  const began = database.now()
  const drafts = new Map<string, Draft>()
  const outcomes: SinkOutcome[] = []
  const refused: RefusedRow[] = []
  for (const sink of batch.sinks) {
    const { outcome, refusals } = merge(draftFor(database, drafts, sink.step.table), sink, [
      ...(sink.fresh ? await readRows(sink.fresh) : []),
      ...(await readRows(sink.rows)),
    ])
    if (sink.deleted)
      outcome.deleted = remove(draftFor(database, drafts, sink.step.table), await readRows(sink.deleted))
    outcomes.push(outcome)
    refused.push(...refusals)
  }
  if (refused.length > 0) throw new RowsRefused(refused)
  const letters = await readLetters(batch.deadLetters)
  await failpoint('after rows')

  const lateRows = batch.lateRows ? await readRows(batch.lateRows) : []
  const changeState = await readStateChange(batch.state)
  const changeKeyed = await readKeyedChange(batch.keyed)
  const dedupKeys = batch.dedupKeys ? await readRows(batch.dedupKeys) : []
  await failpoint('after state')

  const verdicts = await batch.books(outcomes)
  const written = (await batch.outbox?.(outcomes)) ?? []
  const messages = await readMessages(written, batch.batch)
  const requests = batch.requests ? await readRows(batch.requests) : []
  await failpoint('after positions')
  await failpoint('commit sent')

  // From here on nothing waits: it is all refused, or it is all there.
  if (!owns()) {
    throw new MillraceError('LEASE_LOST', {
      at: `${batch.pipeline} batch ${batch.batch}`,
      message: 'another worker owns the pipeline now; nothing of this batch was written',
      hint: 'this worker stops or stands by; the other one goes on from what is stored',
    })
  }
  checkNumber(pipeline, batch)
  checkBooks(batch, verdicts)
  checkLetters(batch, letters)
  checkDedupKeys(pipeline, batch, dedupKeys)
  checkSettled(database, batch)

  const committedAt = new Date(database.now())
  const rowsOut = rowsOutOf(outcomes, written)
  for (const draft of drafts.values()) apply(draft)
  for (const letter of letters)
    database.deadLetters.push(stored(letter, batch, database.deadLetters.length + 1, committedAt))
  for (const { id } of batch.settles) settle(database, id, 'replayed', `batch ${batch.batch}`)
  for (const { step, key } of dedupKeys) keysOf(pipeline, step ?? '').add(key ?? '')
  for (const row of lateRows) {
    database.lateRows.push({ ...row, pipeline: batch.pipeline, batch: String(batch.batch) })
  }
  changeState(pipeline)
  changeKeyed(pipeline)
  pipeline.outbox.push(...messages)
  for (const { task, key } of requests) pipeline.requests.push({ task: task ?? '', key: key ?? '', batch: batch.batch })
  pipeline.watermark = highest(pipeline.watermark, batch.watermark)
  for (const file of batch.files) pipeline.files.set(pair(file.source, file.id), { ...file, batch: batch.batch })
  for (const position of batch.positions) {
    const at = pair(position.source, position.partition)
    // a watermark never moves back, and a batch without one does not forget it
    const watermark = highest(pipeline.positions.get(at)?.watermark, position.watermark)
    pipeline.positions.set(at, { ...position, watermark })
  }
  pipeline.ledger.push({
    pipeline: batch.pipeline,
    batch: batch.batch,
    epoch: batch.epoch,
    kind: batch.kind,
    startedAt: batch.startedAt,
    committedAt,
    ...verdicts,
    filesQuarantined: batch.filesQuarantined,
    rowsOut,
    phasesMs: { ...batch.phases, land: database.now() - began },
    stepRows: batch.stepRows,
    watermark: batch.watermark,
    ranges: JSON.parse(jsonText(batch.ranges)),
  })
  pipeline.batch = batch.batch
  await failpoint('commit acknowledged')
  return { verdicts, rowsOut, committedAt }
}

/** Marks a dead letter as done with; false when there is no open one of that number. */
export function settle(database: MemoryDatabase, id: number, how: 'replayed' | 'discarded', by: string): boolean {
  const letter = database.deadLetters[id - 1]
  if (letter === undefined || letter.settled !== null) return false
  letter.settled = how
  letter.settledAt = new Date(database.now())
  letter.settledBy = by
  return true
}

/** The keys a dedup step has seen. */
export function keysOf(pipeline: StoredPipeline, step: string): Set<string> {
  let keys = pipeline.dedupKeys.get(step)
  if (keys === undefined) {
    keys = new Set()
    pipeline.dedupKeys.set(step, keys)
  }
  return keys
}

function draftFor(database: MemoryDatabase, drafts: Map<string, Draft>, name: string): Draft {
  const table = database.tables.get(name)
  if (table === undefined) throw refusal(name, 'there is no such table')
  const draft = drafts.get(name) ?? draftOf(table)
  drafts.set(name, draft)
  return draft
}

async function readLetters(file: CsvRows | undefined): Promise<Letter[]> {
  if (file === undefined) return []
  return (await readRows(file)).map((row) => ({
    source: present(row, 'source'),
    place: present(row, 'place'),
    line: row['line'] == null ? null : Number(row['line']),
    stage: present(row, 'stage'),
    code: present(row, 'code'),
    columnName: row['column_name'] ?? null,
    message: present(row, 'message'),
    raw: present(row, 'raw'),
    // `\x` and hexadecimal digits
    rawBytes: row['raw_bytes'] == null ? null : Buffer.from(row['raw_bytes'].slice(2), 'hex'),
    fields: row['fields'] == null ? null : JSON.parse(row['fields']),
  }))
}

function present(row: Row, column: string): string {
  const value = row[column]
  if (value == null) throw refusal('dead letters', `"${column}" is null`)
  return value
}

function stored(letter: Letter, batch: BatchCommit, id: number, rejectedAt: Date): DeadLetter {
  return {
    id,
    pipeline: batch.pipeline,
    batch: batch.batch,
    ...letter,
    revision: 0,
    rejectedAt,
    settled: null,
    settledAt: null,
    settledBy: null,
  }
}

// ---- what the database would not take: mistakes of Millrace's own, never of a row ------------------------------------

function checkNumber(pipeline: StoredPipeline, batch: BatchCommit): void {
  if (batch.batch === pipeline.batch + 1) return
  throw refusal(batch.pipeline, `batch ${batch.batch} cannot follow batch ${pipeline.batch}`)
}

function checkBooks({ pipeline, batch, filesQuarantined }: BatchCommit, verdicts: Verdicts): void {
  const { rowsIn, written, filtered, duplicates, late, dead } = verdicts
  const negative = [rowsIn, written, filtered, duplicates, late, dead, filesQuarantined].some((count) => !(count >= 0))
  if (!negative && rowsIn === written + filtered + duplicates + late + dead) return
  throw refusal(`${pipeline} batch ${batch}`, `the books do not balance: ${JSON.stringify(verdicts)}`)
}

function checkLetters({ pipeline, batch }: BatchCommit, letters: Letter[]): void {
  const texts = ({ raw, message, fields }: Letter) => [raw, message, ...Object.entries(fields ?? {}).flat()]
  if (!letters.some((letter) => texts(letter).some((text) => text?.includes('\0')))) return
  throw refusal(`${pipeline} batch ${batch}`, 'a dead letter holds U+0000, which text cannot')
}

function checkDedupKeys(pipeline: StoredPipeline, { batch }: BatchCommit, rows: Row[]): void {
  const fresh = new Set<string>()
  for (const { step, key } of rows) {
    if (step == null || key == null) throw refusal(`${pipeline.plan.name} batch ${batch}`, 'a dedup key is null')
    if (pipeline.dedupKeys.get(step)?.has(key) || fresh.has(pair(step, key))) {
      throw refusal(`${pipeline.plan.name} batch ${batch}`, `the dedup key "${key}" of ${step} is there already`)
    }
    fresh.add(pair(step, key))
  }
}

function checkSettled(database: MemoryDatabase, { pipeline, settles }: BatchCommit): void {
  for (const { id, revision } of settles) {
    const letter = database.deadLetters[id - 1]
    if (letter?.pipeline !== pipeline || letter.settled !== null) throw letterSettled(pipeline)
    if (letter.revision !== revision) throw letterEdited(pipeline)
  }
}

function refusal(at: string, message: string): MillraceError {
  return new MillraceError('DATABASE_REFUSED', { at, message })
}

function highest(stored: number | undefined, given: number | undefined): number | undefined {
  return stored === undefined || given === undefined ? (stored ?? given) : Math.max(stored, given)
}

/**
 * The store in memory, for generated histories and the test kit: the contract of the one in Postgres, with its refusals,
 * over a database that several openings may share.
 */
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { planChange } from '../plan/compatible.ts'
import type { Plan } from '../plan/plan.ts'
import { csvRows, readRows } from './csv-rows.ts'
import { commitBatch, keysOf, settle } from './memory/commit.ts'
import { type MemoryDatabase, memoryDatabase, pair, type StoredPipeline } from './memory/database.ts'
import { nextDue, writeKeyed } from './memory/keyed-state.ts'
import { freeLease, holds, leave, takeLease } from './memory/leases.ts'
import { comesAfter, pageOf } from './memory/outbox.ts'
import { writeState } from './memory/state.ts'
import { emptyTable, fitted, type Table } from './memory/tables.ts'
import {
  type BatchCommit,
  type CommitOutcome,
  type Committed,
  type CsvRows,
  type DeadLetter,
  type DeadLetterCount,
  type DeadLetterFilter,
  type DeadLetterQuery,
  type KeyedQuery,
  type LeaseAnswer,
  type LeaseRequest,
  type LedgerLine,
  type LedgerQuery,
  type OutboxPage,
  type OutboxPlace,
  outboxEffect,
  type PipelineStatus,
  type Store,
  type StoredFile,
  type StoredState,
} from './store.ts'

export { type MemoryDatabase, memoryDatabase }

/** Opens a store over a memory database: each opening is a worker of its own. */
export function openMemoryStore(database: MemoryDatabase): Store {
  return new MemoryStore(database)
}

class MemoryStore implements Store {
  readonly kind = 'memory'
  readonly #database: MemoryDatabase

  constructor(database: MemoryDatabase) {
    this.#database = database
  }

  async register(plan: Plan): Promise<void> {
    // a plan is plain data; a copy of it no longer changes
    const copy: Plan = JSON.parse(JSON.stringify(plan))
    const tables = new Map<string, Table>()
    for (const step of copy.steps) {
      if (step.op !== 'table') continue
      const table = tables.get(step.table) ?? this.#database.tables.get(step.table)
      tables.set(step.table, table === undefined ? emptyTable(step) : fitted(table, step))
    }
    const stored = this.#database.pipelines.get(plan.name)
    if (stored === undefined) this.#database.pipelines.set(plan.name, newPipeline(copy))
    else {
      checkPlan(stored.plan, plan)
      stored.plan = copy
    }
    for (const [name, table] of tables) this.#database.tables.set(name, table)
  }

  async lease(request: LeaseRequest): Promise<LeaseAnswer> {
    return await takeLease(this.#known(request.pipeline).lease, request, this)
  }

  async committed(pipeline: string): Promise<Committed> {
    const stored = this.#database.pipelines.get(pipeline)
    return {
      batch: stored?.batch ?? 0,
      epoch: stored?.lease.epoch ?? 0,
      positions: [...(stored?.positions.values() ?? [])].map((position) => ({ ...position })),
      watermark: stored?.watermark,
    }
  }

  async commit(batch: BatchCommit): Promise<CommitOutcome> {
    await failpoint('before begin')
    const pipeline = this.#known(batch.pipeline)
    const owns = () => holds(pipeline.lease, this, batch.epoch)
    const committing = this.#database.turn.then(() => commitBatch(this.#database, pipeline, batch, owns))
    this.#database.turn = committing.catch(() => {})
    return await committing
  }

  async files(pipeline: string, source: string, ids: string[]): Promise<Map<string, StoredFile>> {
    const files = this.#database.pipelines.get(pipeline)?.files
    const found = ids.map((id) => files?.get(pair(source, id))).filter((file) => file !== undefined)
    return new Map(found.map((file) => [file.id, { ...file }]))
  }

  async filesOfBatch(pipeline: string, batch: number): Promise<StoredFile[]> {
    const files = [...(this.#database.pipelines.get(pipeline)?.files.values() ?? [])]
    return files.filter((file) => file.batch === batch).map((file) => ({ ...file }))
  }

  async seenKeys(pipeline: string, step: string, keys: CsvRows, into: string): Promise<CsvRows> {
    const known = keysOf(this.#known(pipeline), step)
    const wanted = (await readRows(keys)).flatMap((row) => Object.values(row))
    const seen = wanted.filter((key) => key !== null && known.has(key))
    return await csvRows(
      ['key'],
      seen.map((key) => [key]),
      into,
    )
  }

  async state(pipeline: string, folder: string): Promise<StoredState> {
    return await writeState(this.#known(pipeline), folder)
  }

  async keyed(pipeline: string, query: KeyedQuery): Promise<CsvRows> {
    return await writeKeyed(this.#known(pipeline), query)
  }

  async keepsByKey(pipeline: string): Promise<boolean> {
    return this.#known(pipeline).keyed.size > 0
  }

  async nextDue(pipeline: string): Promise<bigint | undefined> {
    return nextDue(this.#known(pipeline))
  }

  async ledger(pipeline: string, query: LedgerQuery): Promise<LedgerLine[]> {
    const after = query.after ?? 0
    const lines = (this.#database.pipelines.get(pipeline)?.ledger ?? []).filter((line) => line.batch > after)
    const chosen =
      query.last === undefined ? lines.slice(0, query.first) : lines.slice(Math.max(0, lines.length - query.last))
    return chosen.map((line) => structuredClone(line))
  }

  async foldLedger(pipeline: string, before: Date, upTo: number): Promise<number> {
    const { ledger } = this.#known(pipeline)
    const hour = (at: Date) => at.toISOString().slice(0, 13)
    const isOld = (line: LedgerLine) => hour(line.committedAt) < hour(before) && line.batch <= upTo
    const hours = Map.groupBy(ledger.filter(isOld), ({ kind, committedAt }) => pair(kind, hour(committedAt)))
    const folded = [...hours.values()].map((lines) => lines.reduce(addLines))
    const kept = [...folded, ...ledger.filter((line) => !isOld(line))].sort((a, b) => a.batch - b.batch)
    const gone = ledger.length - kept.length
    ledger.splice(0, ledger.length, ...kept)
    return gone
  }

  async effectCursor(pipeline: string, effect: string): Promise<number> {
    return this.#database.pipelines.get(pipeline)?.effects.get(effect) ?? 0
  }

  async advanceEffect(pipeline: string, effect: string, batch: number): Promise<void> {
    const { effects } = this.#known(pipeline)
    effects.set(effect, Math.max(effects.get(effect) ?? 0, batch))
  }

  async outbox(pipeline: string, after: OutboxPlace, limits: { rows: number; bytes: number }): Promise<OutboxPage> {
    return pageOf(this.#known(pipeline).outbox, after, limits)
  }

  async outboxRows(pipeline: string): Promise<number> {
    return this.#database.pipelines.get(pipeline)?.outbox.length ?? 0
  }

  async forgetPublished(
    pipeline: string,
    { after, upTo, batchDone }: { after: OutboxPlace; upTo: OutboxPlace; batchDone: number },
  ): Promise<void> {
    const stored = this.#known(pipeline)
    stored.outbox = stored.outbox.filter((message) => !comesAfter(message, after) || comesAfter(message, upTo))
    await this.advanceEffect(pipeline, outboxEffect, batchDone)
  }

  async deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]> {
    const found = this.#matching(query)
    return (query.newestFirst === true ? found.reverse() : found)
      .slice(0, query.limit)
      .map((letter) => ({ ...letter, fields: letter.fields && { ...letter.fields } }))
  }

  async countDeadLetters(filter: DeadLetterFilter): Promise<DeadLetterCount[]> {
    const groups = Map.groupBy(this.#matching(filter), ({ pipeline, code }) => pair(pipeline, code))
    const counts = [...groups.values()].map((letters) => ({
      pipeline: letters[0]?.pipeline ?? '',
      code: letters[0]?.code ?? '',
      letters: letters.length,
      replayable: letters.filter(({ fields }) => fields !== null).length,
      bytes: letters.reduce((sum, { raw }) => sum + Buffer.byteLength(raw), 0),
      lastId: letters.at(-1)?.id ?? 0,
    }))
    const name = (count: DeadLetterCount) => pair(count.pipeline, count.code)
    return counts.sort((a, b) => b.letters - a.letters || (name(a) < name(b) ? -1 : 1))
  }

  #matching(filter: DeadLetterFilter): DeadLetter[] {
    return this.#database.deadLetters.filter(
      (letter) =>
        (filter.pipeline === undefined || letter.pipeline === filter.pipeline) &&
        (filter.source === undefined || letter.source === filter.source) &&
        (filter.ids === undefined || filter.ids.includes(letter.id)) &&
        (filter.batch === undefined || letter.batch === filter.batch) &&
        (filter.code === undefined || letter.code.toUpperCase() === filter.code.toUpperCase()) &&
        (filter.column === undefined || letter.columnName === filter.column) &&
        (filter.place === undefined || letter.place.includes(filter.place)) &&
        (filter.since === undefined || letter.rejectedAt >= filter.since) &&
        (filter.until === undefined || letter.rejectedAt < filter.until) &&
        (filter.replayable === undefined || (letter.fields !== null) === filter.replayable) &&
        (filter.settled === true || letter.settled === null) &&
        (filter.after === undefined || letter.id > filter.after) &&
        (filter.upTo === undefined || letter.id <= filter.upTo),
    )
  }

  async editDeadLetter(id: number, fields: Record<string, string | null>): Promise<void> {
    const letter = this.#database.deadLetters[id - 1]
    if (letter === undefined) {
      throw new MillraceError('NO_SUCH_DEAD_LETTER', {
        message: `there is no dead letter ${id}`,
        hint: 'list them with dead-letters list',
      })
    }
    if (letter.settled !== null) {
      throw new MillraceError('DEAD_LETTER_SETTLED', {
        message: `dead letter ${id} was ${letter.settled} already (${letter.settledBy})`,
      })
    }
    letter.fields = { ...letter.fields, ...fields }
    letter.revision++
  }

  async discardDeadLetters(filter: DeadLetterFilter, reason: string): Promise<number> {
    return this.#matching(filter).filter(({ id }) => settle(this.#database, id, 'discarded', reason)).length
  }

  async status(): Promise<PipelineStatus[]> {
    return [...this.#database.pipelines.keys()].sort().map((pipeline) => {
      const { lease, batch, ledger, outbox } = this.#known(pipeline)
      const sum = (count: (line: LedgerLine) => number) => ledger.reduce((total, line) => total + count(line), 0)
      return {
        pipeline,
        owner: lease.holder?.request.owner ?? null,
        lentBy: lease.lentBy,
        doing: lease.doing,
        epoch: lease.epoch,
        alive: lease.holder !== undefined && !lease.holder.expired,
        batch,
        lastCommittedAt: ledger.at(-1)?.committedAt ?? null,
        rowsIn: sum((line) => line.rowsIn),
        written: sum((line) => line.written),
        filtered: sum((line) => line.filtered),
        duplicates: sum((line) => line.duplicates),
        late: sum((line) => line.late),
        dead: sum((line) => line.dead),
        deadLettersOpen: this.#database.deadLetters.filter(
          (letter) => letter.pipeline === pipeline && letter.settled === null,
        ).length,
        filesQuarantined: sum((line) => line.filesQuarantined),
        outboxRows: outbox.length,
      }
    })
  }

  #known(pipeline: string): StoredPipeline {
    const stored = this.#database.pipelines.get(pipeline)
    if (stored) return stored
    throw new MillraceError('UNKNOWN_PIPELINE', {
      message: `the store knows no pipeline "${pipeline}"`,
      hint: `it knows one when it has been started; there are ${[...this.#database.pipelines.keys()].join(', ') || 'none'}`,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { lease } of this.#database.pipelines.values()) leave(lease, this)
  }
}

function newPipeline(plan: Plan): StoredPipeline {
  return {
    plan,
    batch: 0,
    lease: freeLease(),
    positions: new Map(),
    files: new Map(),
    ledger: [],
    effects: new Map(),
    dedupKeys: new Map(),
    watermark: undefined,
    paneNumbers: new Map(),
    paneSets: [],
    keyed: new Map(),
    outbox: [],
    requests: [],
  }
}

function checkPlan(before: Plan, after: Plan): void {
  const change = planChange(before, after)
  if (change.is !== 'different') return
  throw new MillraceError('PLAN_CHANGED', {
    at: after.name,
    message: `the pipeline was started with another plan: ${change.differences.join('; ')}`,
    hint: `take the change back, give the pipeline another name, or forget its state with: millrace reset ${after.name}`,
  })
}

// Two lines of the ledger as one; of the first only the sums are left.
function addLines(first: LedgerLine, second: LedgerLine): LedgerLine {
  const sums = (a: Record<string, number>, b: Record<string, number>): Record<string, number> =>
    Object.fromEntries(
      [...new Set([...Object.keys(a), ...Object.keys(b)])].map((key) => [key, (a[key] ?? 0) + (b[key] ?? 0)]),
    )
  const steps = new Set([...Object.keys(first.rowsOut), ...Object.keys(second.rowsOut)])
  const none = { inserted: 0, updated: 0, deleted: 0 }
  const counts = ['rowsIn', 'written', 'filtered', 'duplicates', 'late', 'dead', 'filesQuarantined'] as const
  return {
    ...second,
    ...Object.fromEntries(counts.map((count) => [count, first[count] + second[count]])),
    epoch: Math.max(first.epoch, second.epoch),
    startedAt: first.startedAt,
    rowsOut: Object.fromEntries(
      [...steps].map((step) => {
        const [a, b] = [first.rowsOut[step] ?? none, second.rowsOut[step] ?? none]
        return [
          step,
          { inserted: a.inserted + b.inserted, updated: a.updated + b.updated, deleted: a.deleted + b.deleted },
        ]
      }),
    ),
    ranges: [],
    phasesMs: sums(first.phasesMs, second.phasesMs),
    stepRows: sums(first.stepRows, second.stepRows),
  }
}

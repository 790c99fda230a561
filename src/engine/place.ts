/**
 * Where the relations of a batch are made in DuckDB. A large batch has a schema of its own, which goes with it. Small ones,
 * one after another, share a room: its tables are filled anew by the same statements, so that DuckDB need not plan
 * them again, which takes longer than to run them on a few rows. A plan holds until a table or a view is made.
 */
import { MillraceError } from '../errors.ts'
import type { Relation } from '../operators/operator.ts'
import { identifier } from '../plan/identifier.ts'
import type { Plan } from '../plan/plan.ts'
import type { Range } from '../sources/source.ts'
import type { DuckSession } from './duckdb.ts'
import type { BatchTime } from './relations.ts'
import { keepingSteps } from './state.ts'

export interface Place {
  /** Part of the names of its files; no other batch that is under way has the same. */
  readonly name: string
  readonly schema: string
  /** Whether statements come again with the same words: they have no number or instant of one batch in them. */
  readonly again: boolean
  enter(): Promise<void>
  /** Makes a relation anew, if only when it is read. Answers how many rows a table has; undefined where that is not known yet. */
  make(relation: Pick<Relation, 'name' | 'as' | 'select' | 'empty'>): Promise<number | undefined>
  /** Makes a table of texts anew, of these rows. */
  fill(name: string, columns: readonly string[], rows: readonly (string | null)[][]): Promise<void>
  /** Says how time stands, in words that are the same for every batch where statements come again. */
  tell(time: BatchTime): Promise<BatchTime>
  /** What the batch has changed beside its place is there for the next one. `looks`: its own rows will still be looked at. */
  keep(looks: boolean): Promise<void>
  leave(): Promise<void>
}

/** A schema for one batch. */
export class OwnPlace implements Place {
  readonly name: string
  readonly schema: string
  readonly again = false
  readonly #session: DuckSession

  constructor(session: DuckSession, pipeline: string, name: string) {
    this.#session = session
    this.name = name
    this.schema = identifier(`${pipeline} ${name}`)
  }

  async enter(): Promise<void> {
    // an attempt before this one may have failed half way
    await this.leave()
    await this.#session.run(`create schema ${this.schema}`)
  }

  async make({ name, as, select }: Pick<Relation, 'name' | 'as' | 'select'>): Promise<number> {
    return await this.#session.make(`create or replace ${as} ${name} as\n${select}`)
  }

  async fill(name: string, columns: readonly string[], rows: readonly (string | null)[][]): Promise<void> {
    await this.#session.run(tableOfTexts(name, columns))
    if (rows.length > 0) await this.#session.append(name, rows)
  }

  async tell(time: BatchTime): Promise<BatchTime> {
    return time
  }

  async keep(): Promise<void> {
    await this.#session.flush()
  }

  async leave(): Promise<void> {
    await this.#session.run(`drop schema if exists ${this.schema} cascade`)
  }
}

/** A table in memory that is emptied keeps a little of it. */
const emptiedAtMost = 500
/** So many selects of a relation are remembered. */
const selectsKnown = 100

/**
 * The schema of the small batches of one source on one session, a batch at a time. What a batch makes is in a transaction
 * that nobody commits: that costs half of what it takes to empty tables. Where other tables are changed with it, such as
 * those of open windows, the transaction begins once the batch before has changed them, and the rows are taken out before it
 * is committed: a table that has never had any costs no memory, and does not become slower with the batches.
 */
export class Room implements Place {
  readonly name: string
  readonly schema: string
  readonly again = true
  readonly #session: DuckSession
  readonly #takesBack: boolean
  /** By relation, the selects that are known to have its columns. */
  readonly #selects = new Map<string, Set<string>>()
  readonly #columns = new Map<string, string>()
  readonly #filled = new Set<string>()
  #isThere = false
  #isOpen = false
  /** The batch at hand, which is not taken back, has come to its end. */
  #isKept = false
  /** Something was made that stays when the batch leaves. */
  #isNew = false
  #emptied = 0

  /** `owner`: what no other worker is called. `takesBack`: nothing else is changed by a batch. */
  constructor(session: DuckSession, owner: string, name: string, takesBack: boolean) {
    this.#session = session
    this.name = name
    this.schema = identifier(`${owner} ${name}`)
    this.#takesBack = takesBack
  }

  async enter(): Promise<void> {
    if (this.#emptied > emptiedAtMost) await this.drop()
    if (!this.#isThere) {
      this.#forget()
      this.#filled.clear()
      await this.#session.run(`drop schema if exists ${this.schema} cascade`)
      await this.#session.run(`create schema ${this.schema}`)
      await this.#session.run(`create table ${this.#clock} (before_us bigint, after_us bigint)`)
      this.#isThere = true
    }
    if (this.#takesBack) this.#begin()
    else this.#emptyAll()
    this.#isKept = false
    this.#emptied++
  }

  async make({
    name,
    as,
    select,
    empty = false,
  }: Pick<Relation, 'name' | 'as' | 'select' | 'empty'>): Promise<number | undefined> {
    const known = this.#selects.get(name)
    if (known?.has(select) && as === 'view') return 0
    if (this.#filled.has(name)) this.#empty(name)
    if (known !== undefined && as === 'table' && empty) return 0
    if (known !== undefined && as === 'table' && (known.has(select) || (await this.#hasColumnsOf(name, select)))) {
      if (known.size < selectsKnown) known.add(select)
      this.#filled.add(name)
      this.#session.later(`insert into ${name}\n${select}`)
      return undefined
    }
    // whatever reads it may have other columns now
    if (known !== undefined) this.#forget()
    this.#selects.set(name, new Set([select]))
    this.#isNew = true
    const rows = await this.#session.make(`create or replace ${as} ${name} as\n${select}`)
    if (rows > 0) this.#filled.add(name)
    return rows
  }

  async fill(name: string, columns: readonly string[], rows: readonly (string | null)[][]): Promise<void> {
    const select = tableOfTexts(name, columns)
    if (this.#filled.has(name)) this.#empty(name)
    if (this.#selects.get(name)?.has(select) !== true) {
      if (this.#selects.has(name)) this.#forget()
      this.#selects.set(name, new Set([select]))
      this.#isNew = true
      await this.#session.run(select)
    }
    if (rows.length === 0) return
    this.#filled.add(name)
    await this.#session.append(name, rows)
  }

  async tell(time: BatchTime): Promise<BatchTime> {
    this.#begin()
    const us = (ms: number | undefined): string => (ms === undefined ? 'null' : String(BigInt(Math.round(ms)) * 1000n))
    if (this.#filled.has(this.#clock)) this.#empty(this.#clock)
    this.#filled.add(this.#clock)
    this.#session.later(`insert into ${this.#clock} values (${us(time.before)}, ${us(time.after)})`)
    return { ...time, clock: this.#clock, few: true }
  }

  async keep(looks: boolean): Promise<void> {
    if (this.#takesBack) return
    // rows that are looked at go when the next batch comes
    if (!looks) this.#emptyAll()
    this.#isKept = await this.#end(true)
    if (this.#isKept) return
    throw new MillraceError('DUCKDB_FAILED', { message: 'the transaction of a batch has failed before its end' })
  }

  async leave(): Promise<void> {
    this.#session.abandon()
    if (this.#isOpen) {
      const keeps = this.#takesBack && this.#isNew
      if (keeps) this.#emptyAll()
      await this.#end(keeps)
    }
    // nobody knows which of its rows are there, nor those of the batch before it: what takes them out may not have run
    if (!this.#takesBack && !this.#isKept) this.#isThere = false
  }

  #begin(): void {
    if (this.#isOpen) return
    this.#session.begin()
    this.#isOpen = true
  }

  async #end(keeps: boolean): Promise<boolean> {
    let isKept = false
    try {
      isKept = await this.#session.end(keeps)
      return isKept
    } finally {
      // of what was made nothing is there
      if (!isKept && this.#isNew) this.#forget()
      if (this.#takesBack) this.#filled.clear()
      this.#isNew = false
      this.#isOpen = false
    }
  }

  #forget(): void {
    this.#selects.clear()
    this.#columns.clear()
  }

  async drop(): Promise<void> {
    this.#forget()
    this.#filled.clear()
    this.#emptied = 0
    this.#isThere = false
    this.#isNew = false
    // a batch may have failed in it
    this.#isOpen = false
    await this.#session.end(false)
    await this.#session.run(`drop schema if exists ${this.schema} cascade`)
  }

  get #clock(): string {
    return `${this.schema}.clock`
  }

  #emptyAll(): void {
    for (const name of this.#filled) this.#empty(name)
  }

  #empty(name: string): void {
    this.#session.later(`truncate ${name}`)
    this.#filled.delete(name)
  }

  async #hasColumnsOf(table: string, select: string): Promise<boolean> {
    const columns = this.#columns.get(table) ?? (await this.#describe(table))
    this.#columns.set(table, columns)
    return columns === (await this.#describe(select))
  }

  async #describe(relation: string): Promise<string> {
    const rows = await this.#session.rows<{ column_name: string; column_type: string }>(`describe ${relation}`)
    return JSON.stringify(rows.map(({ column_name, column_type }) => [column_name, column_type]))
  }
}

function tableOfTexts(name: string, columns: readonly string[]): string {
  return `create or replace table ${name} (${columns.map((column) => `${identifier(column)} varchar`).join(', ')})`
}

/** Batches of no more rows and bytes than these are small. */
const [fewRows, fewBytes] = [2000, 4_000_000]

/** The rooms of a worker. */
export class Rooms {
  readonly #rooms = new Map<string, Room>()
  readonly #owner: string
  readonly #sources: readonly string[]
  readonly #sessions: readonly DuckSession[]
  readonly #takeBack: boolean

  /** `owner`: what no other worker is called. */
  constructor(owner: string, plan: Plan, sessions: readonly DuckSession[]) {
    this.#owner = owner
    this.#takeBack = keepingSteps(plan).length === 0
    this.#sources = Object.keys(plan.sources)
    this.#sessions = sessions
  }

  /** Where a batch of this range is made; undefined where it is to have a place of its own. */
  roomFor(session: DuckSession, { source, rows, bytes }: Range): Room | undefined {
    if (rows > fewRows || bytes > fewBytes) return undefined
    // for another source other steps run
    const which = source === undefined ? 'none' : this.#sources.indexOf(source)
    const name = `small-${this.#sessions.indexOf(session)}-${which}`
    const room = this.#rooms.get(name) ?? new Room(session, this.#owner, name, this.#takeBack)
    this.#rooms.set(name, room)
    return room
  }

  async drop(): Promise<void> {
    for (const room of this.#rooms.values()) await room.drop()
    for (const session of this.#sessions) await session.forgetPlans()
  }
}

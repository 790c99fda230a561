/**
 * Where the relations of a batch are made in DuckDB. A large batch has a schema of its own, which goes with it. Small ones,
 * one after another, share a room: its tables are emptied and filled by the same statements, so that DuckDB need not plan
 * them again, which takes longer than to run them on a few rows. A plan holds until a table or a view is made.
 */
import type { Relation } from '../operators/operator.ts'
import { identifier } from '../plan/identifier.ts'
import type { Plan } from '../plan/plan.ts'
import type { Range } from '../sources/source.ts'
import type { DuckSession } from './duckdb.ts'
import type { BatchTime } from './relations.ts'

export interface Place {
  /** Part of the names of its files; no other batch that is under way has the same. */
  readonly name: string
  readonly schema: string
  /** Whether statements come again with the same words: they have no number or instant of one batch in them. */
  readonly again: boolean
  enter(): Promise<void>
  /** Makes a relation anew, if only when it is read. Answers how many rows a table has; undefined where that is not known yet. */
  make(relation: Pick<Relation, 'name' | 'as' | 'select'>): Promise<number | undefined>
  /** Says how time stands, in words that are the same for every batch where statements come again. */
  tell(time: BatchTime): Promise<BatchTime>
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

  async tell(time: BatchTime): Promise<BatchTime> {
    return time
  }

  async leave(): Promise<void> {
    await this.#session.run(`drop schema if exists ${this.schema} cascade`)
  }
}

/** A table in memory that is emptied keeps a little of it. */
const batchesARoom = 500

/** The schema of the small batches of one source on one session, a batch at a time. */
export class Room implements Place {
  readonly name: string
  readonly schema: string
  readonly again = true
  readonly #session: DuckSession
  /** By relation, the selects that are known to have its columns. */
  readonly #selects = new Map<string, Set<string>>()
  readonly #columns = new Map<string, string>()
  readonly #filled = new Set<string>()
  #batches = 0

  /** `owner`: what no other worker is called. */
  constructor(session: DuckSession, owner: string, name: string) {
    this.#session = session
    this.name = name
    this.schema = identifier(`${owner} ${name}`)
  }

  async enter(): Promise<void> {
    if (this.#batches++ % batchesARoom > 0) {
      for (const name of this.#filled) this.#empty(name)
      return
    }
    await this.drop()
    await this.#session.run(`create schema ${this.schema}`)
    await this.#session.run(`create table ${this.#clock} (before_us bigint, after_us bigint)`)
  }

  async make({ name, as, select }: Pick<Relation, 'name' | 'as' | 'select'>): Promise<number | undefined> {
    const known = this.#selects.get(name)
    if (known?.has(select) && as === 'view') return 0
    if (this.#filled.has(name)) this.#empty(name)
    if (known !== undefined && as === 'table' && (known.has(select) || (await this.#hasColumnsOf(name, select)))) {
      known.add(select)
      this.#filled.add(name)
      this.#session.later(`insert into ${name}\n${select}`)
      return undefined
    }
    // whatever reads it may have other columns now
    if (known !== undefined) this.#forget()
    this.#selects.set(name, new Set([select]))
    const rows = await this.#session.make(`create or replace ${as} ${name} as\n${select}`)
    if (rows > 0) this.#filled.add(name)
    return rows
  }

  async tell(time: BatchTime): Promise<BatchTime> {
    const us = (ms: number | undefined): string => (ms === undefined ? 'null' : String(BigInt(Math.round(ms)) * 1000n))
    this.#empty(this.#clock)
    this.#session.later(`insert into ${this.#clock} values (${us(time.before)}, ${us(time.after)})`)
    return { ...time, clock: this.#clock }
  }

  /** What the batch has left is taken away when the next one comes, which waits for less then. */
  async leave(): Promise<void> {
    this.#session.abandon()
  }

  #forget(): void {
    this.#selects.clear()
    this.#columns.clear()
  }

  async drop(): Promise<void> {
    this.#forget()
    this.#filled.clear()
    await this.#session.run(`drop schema if exists ${this.schema} cascade`)
  }

  get #clock(): string {
    return `${this.schema}.clock`
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

/** Batches of no more rows than these are small. */
const fewRows = 2000

/** The rooms of a worker. */
export class Rooms {
  readonly #rooms = new Map<string, Room>()
  readonly #owner: string
  readonly #sources: readonly string[]
  readonly #sessions: readonly DuckSession[]

  /** `owner`: what no other worker is called. */
  constructor(owner: string, plan: Plan, sessions: readonly DuckSession[]) {
    this.#owner = owner
    this.#sources = Object.keys(plan.sources)
    this.#sessions = sessions
  }

  /** Where a batch of this range is made; undefined where it is to have a place of its own. */
  roomFor(session: DuckSession, { source, rows }: Range): Room | undefined {
    if (rows > fewRows) return undefined
    // for another source other steps run
    const which = source === undefined ? 'none' : this.#sources.indexOf(source)
    const name = `small-${this.#sessions.indexOf(session)}-${which}`
    const room = this.#rooms.get(name) ?? new Room(session, this.#owner, name)
    this.#rooms.set(name, room)
    return room
  }

  async drop(): Promise<void> {
    for (const room of this.#rooms.values()) await room.drop()
    for (const session of this.#sessions) await session.forgetPlans()
  }
}

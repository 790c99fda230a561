/**
 * DuckDB in this process: in memory, with bounded memory, and shut off from everything but the spool. The only file that
 * imports it.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type DuckDBAppender, type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { diskFull, MillraceError } from '../errors.ts'
import { sqlText } from '../plan/identifier.ts'
import type { Sql } from '../sources/source.ts'

export interface DuckOptions {
  /** Folders DuckDB may read and write; they are made here, for none can be added later. */
  folders: string[]
  /** Where it puts what does not fit the limit. */
  temporary: string
  memoryLimitMb: number
  threads: number
  /** Plans of statements that come again are kept, for small batches. */
  keepsPlans?: boolean
}

// A plan must not believe of a table what was true of its rows when it was made.
const believing = 'statistics_propagation,compressed_materialization'

/** A DuckDB instance. Connections see the same tables; each runs one statement at a time. */
export class Duck implements AsyncDisposable {
  readonly #instance: DuckDBInstance
  readonly #options: DuckOptions
  readonly #catalog: Catalog = { changes: 0 }
  #aparts = 0

  private constructor(instance: DuckDBInstance, options: DuckOptions) {
    this.#instance = instance
    this.#options = options
  }

  static async open(options: DuckOptions): Promise<Duck> {
    for (const folder of [...options.folders, options.temporary]) await mkdir(folder, { recursive: true })
    const instance = await DuckDBInstance.create(':memory:', {
      threads: String(options.threads),
      memory_limit: `${options.memoryLimitMb}MB`,
      temp_directory: options.temporary,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      ...(options.keepsPlans ? { disabled_optimizers: believing } : {}),
    })
    const duck = new Duck(instance, options)
    const session = await duck.connect()
    const folders = options.folders.map((folder) => sqlText(folder.endsWith('/') ? folder : `${folder}/`))
    await session.run(`set global TimeZone = 'UTC'`)
    await session.run(`set global preserve_insertion_order = true`)
    await session.run(`set allowed_directories = [${folders.join(', ')}]`)
    await session.run('set enable_external_access = false')
    // from here on no SQL, not even ours, reaches another file or the network
    await session.run('set lock_configuration = true')
    session.close()
    return duck
  }

  async connect(): Promise<DuckSession> {
    const plans = this.keepsPlans ? new Plans(this.#catalog) : undefined
    return new DuckSession(await this.#instance.connect(), this.#options.temporary, plans)
  }

  get keepsPlans(): boolean {
    return this.#options.keepsPlans ?? false
  }

  /** A DuckDB of its own with the same rights and a share of the memory beside it, for what may leave it unusable. */
  async apart(share: number): Promise<Sql & AsyncDisposable> {
    const temporary = join(this.#options.temporary, `apart-${++this.#aparts}`)
    const memoryLimitMb = Math.ceil(this.#options.memoryLimitMb * share)
    const duck = await Duck.open({ ...this.#options, temporary, memoryLimitMb })
    const session = await duck.connect()
    return {
      run: (sql) => session.run(sql),
      rows: (sql) => session.rows(sql),
      async [Symbol.asyncDispose]() {
        session.close()
        await duck[Symbol.asyncDispose]()
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#instance.closeSync()
    await rm(this.#options.temporary, { recursive: true, force: true })
  }
}

/** One connection. Statements are ours, printed from the plan; an error is therefore a fault, and shows its SQL. */
export class DuckSession implements Disposable {
  readonly #connection: DuckDBConnection
  readonly #temporary: string
  readonly #plans: Plans | undefined
  readonly #waiting: string[] = []
  #transaction: 'none' | 'wanted' | 'open' | 'failed' = 'none'

  constructor(connection: DuckDBConnection, temporary: string, plans?: Plans) {
    this.#connection = connection
    this.#temporary = temporary
    this.#plans = plans
  }

  /**
   * Has a statement run before the next one that is asked for, together with it: handing one over to a thread and back takes
   * as long as to run it on a few rows. If one fails, the next one that is asked for says so. A statement that waits names no
   * windows: DuckDB takes those of all statements of a script for one another's.
   */
  later(sql: string): void {
    this.#waiting.push(sql)
  }

  /** Runs what waits. */
  async flush(): Promise<void> {
    const last = this.#waiting.pop()
    if (last !== undefined) await this.run(last)
  }

  /** What waits is not run. */
  abandon(): void {
    this.#waiting.length = 0
  }

  /** What follows is one transaction, until `end`: nobody else sees it. */
  begin(): void {
    if (this.#transaction !== 'none')
      throw new MillraceError('DUCKDB_FAILED', {
        message: `a transaction begins in another, which is ${this.#transaction}`,
      })
    this.#transaction = 'wanted'
  }

  /** Keeps what the transaction has made, or not; answers whether it is kept, which nothing is of one that has failed. */
  async end(keep: boolean): Promise<boolean> {
    const isKept = keep && this.#transaction !== 'failed'
    try {
      if (!isKept) this.abandon()
      // with nothing asked it has not begun
      else if (this.#transaction !== 'open') await this.flush()
      if (this.#transaction === 'open') await this.run(isKept ? 'commit' : 'rollback')
    } finally {
      this.#plans?.settle()
      this.#transaction = 'none'
    }
    return isKept
  }

  /** Runs a statement and answers how many rows it changed. */
  async run(sql: string): Promise<number> {
    return await this.#script(sql, async (script) => (await this.#connection.run(script)).rowsChanged)
  }

  /** Runs a `create ... as`, and answers how many rows it has made; a view makes none. */
  async make(sql: string): Promise<number> {
    const [row] = await this.#script(sql, async (script) => (await this.#connection.runAndReadAll(script)).getRows())
    return Number(row?.[0] ?? 0)
  }

  /** Rows as plain objects: 64-bit integers and decimals are texts; cast counts to integer. For small results. */
  async rows<Row extends Record<string, unknown>>(sql: string): Promise<Row[]> {
    const found = await this.#script(sql, async (script) => await this.#connection.runAndReadAll(script))
    // as: the caller names the columns of its own statement
    return found.getRowObjectsJson() as Row[]
  }

  /** The only column of a result, doubles. */
  async numbers(sql: string): Promise<readonly number[]> {
    const found = await this.#script(sql, async (script) => await this.#connection.runAndReadAll(script))
    const [column = []] = found.getColumns()
    // as: the statement casts to double
    return column as number[]
  }

  /** Rows as lists of values; of integers of 32 bits and of texts they are what JavaScript calls so. For small results. */
  async values<Row extends readonly unknown[]>(sql: string): Promise<Row[]> {
    const found = await this.#script(sql, async (script) => await this.#connection.runAndReadAll(script))
    // as: the caller names the columns of its own statement
    return found.getRows() as unknown as Row[]
  }

  /** A result of numbers and texts that may be large: nothing if it has more rows or characters than these. */
  async texts(
    sql: string,
    most: { rows: number; characters: number },
  ): Promise<[number: number, text: string][] | undefined> {
    const found = await this.#script(sql, async (script) => await this.#connection.runAndReadAll(script))
    if (found.currentRowCount > most.rows) return undefined
    const rows: [number, string][] = []
    let characters = 0
    for (let row = 0; row < found.currentRowCount; row++) {
      const text = String(found.value(1, row))
      characters += text.length
      if (characters > most.characters) return undefined
      rows.push([Number(found.value(0, row)), text])
    }
    return rows
  }

  /** Adds rows to a table of texts, `schema.name`, once what waits and speaks of it has run. */
  async append(at: string, rows: readonly (string | null)[][]): Promise<void> {
    const [schema, name] = pathOf(at)
    // what is added belongs to the transaction
    if (this.#transaction === 'wanted' || this.#waiting.some((sql) => sql.includes(at)))
      await this.run(this.#waiting.pop() ?? 'select 1')
    if (this.#transaction === 'failed')
      throw new MillraceError('DUCKDB_FAILED', { message: 'the transaction has failed before', at })
    let appender: DuckDBAppender | undefined
    try {
      appender = await this.#connection.createAppender(name, schema)
      for (const row of rows) {
        for (const value of row) {
          if (value === null) appender.appendNull()
          else appender.appendVarchar(value)
        }
        appender.endRow()
      }
      appender.closeSync()
    } catch (error) {
      // what it holds would be added when it is collected, whatever transaction is open by then
      appender?.clear()
      if (this.#transaction === 'open') {
        this.#transaction = 'failed'
        await this.#connection.run('rollback').catch(() => {})
      }
      throw failed(`rows into ${at}`, error, this.#temporary)
    }
  }

  async count(relation: string): Promise<number> {
    const [row] = await this.rows<{ n: number }>(`select count(*)::integer as n from ${relation}`)
    return row?.n ?? 0
  }

  // What waits is one transaction, for a commit takes its time too.
  async #script<T>(sql: string, run: (script: string) => Promise<T>): Promise<T> {
    if (this.#transaction === 'failed')
      throw new MillraceError('DUCKDB_FAILED', { message: 'the transaction has failed before', at: sql })
    const waiting = this.#waiting.splice(0)
    const texts = [...waiting, sql].map((each) => this.#plans?.textOf(each) ?? each)
    if (this.#transaction === 'wanted') {
      this.#transaction = 'open'
      texts.unshift('begin')
    } else if (this.#transaction === 'none' && waiting.length > 0)
      texts.splice(0, waiting.length, 'begin', ...texts.slice(0, -1), 'commit')
    try {
      return await run(texts.join('\n;\n'))
    } catch (error) {
      const inTransaction = this.#transaction === 'open'
      if (inTransaction) this.#transaction = 'failed'
      // of what was to be told only the first error is; of a plan nobody knows whether it was made
      if (inTransaction || waiting.length > 0) await this.#connection.run('rollback').catch(() => {})
      await this.forgetPlans().catch(() => {})
      throw failed([...waiting, sql].join('\n;\n'), error, this.#temporary)
    } finally {
      if (changing.test(sql)) this.#plans?.changed(this.#transaction === 'open')
    }
  }

  /** Plans hold the tables they speak of, though these are dropped. */
  async forgetPlans(): Promise<void> {
    const names = this.#plans?.forget() ?? []
    if (names.length > 0) await this.#connection.run(names.map((name) => `deallocate ${name}`).join(';\n'))
  }

  close(): void {
    this.#connection.closeSync()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** How often tables, views or schemas of a DuckDB were made or dropped. */
interface Catalog {
  changes: number
}

/**
 * The statements that a connection has met before, planned. Once anything is made or dropped in its database, DuckDB plans
 * what was prepared before that anew, each time: so it is prepared again here.
 */
class Plans {
  readonly #catalog: Catalog
  readonly #met = new Set<string>()
  readonly #kept = new Map<string, { name: string; changes: number }>()
  #names = 0
  #isChanging = false

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  /** Something was made or dropped; with others it becomes a change once the transaction ends. */
  changed(inTransaction: boolean): void {
    this.#catalog.changes++
    if (inTransaction) this.#isChanging = true
  }

  /** The transaction has ended. */
  settle(): void {
    if (this.#isChanging) this.#catalog.changes++
    this.#isChanging = false
  }

  /** What to run for a statement: one that comes for the second time, or again, has a plan. */
  textOf(sql: string): string {
    if (!planned.test(sql) || once.test(sql)) return sql
    const kept = this.#kept.get(sql)
    // the least used is the first
    this.#kept.delete(sql)
    if (kept !== undefined && kept.changes === this.#catalog.changes) {
      this.#kept.set(sql, kept)
      return `execute ${kept.name}`
    }
    if (kept === undefined && !this.#met.delete(sql)) {
      this.#met.add(sql)
      if (this.#met.size > mostPlans) this.#met.delete(first(this.#met))
      return sql
    }
    const name = `plan_${++this.#names}`
    const texts = [`prepare ${name} as ${sql}`, `execute ${name}`]
    if (kept !== undefined) texts.unshift(`deallocate ${kept.name}`)
    this.#kept.set(sql, { name, changes: this.#catalog.changes })
    if (this.#kept.size > mostPlans) {
      const least = first(this.#kept.keys())
      texts.unshift(`deallocate ${this.#kept.get(least)?.name}`)
      this.#kept.delete(least)
    }
    return texts.join('\n;\n')
  }

  /** Their names. */
  forget(): string[] {
    const names = [...this.#kept.values()].map(({ name }) => name)
    this.#kept.clear()
    this.#met.clear()
    return names
  }
}

const changing = /^\s*(create|drop|alter)\b/
const planned = /^\s*(insert|truncate|copy|select|with|delete)\b/
// run again by a kept plan, these take down the whole database
const once = /\bparquet_(schema|file_metadata)\(/

const mostPlans = 400

function first(texts: Iterable<string>): string {
  for (const text of texts) return text
  return ''
}

function failed(sql: string, cause: unknown, temporary: string): MillraceError {
  const message = cause instanceof Error ? cause.message : String(cause)
  // of its own accord DuckDB takes no more of a disk than is free
  if (/No space left on device|Disk quota exceeded|max_temp_directory_size/.test(message)) {
    return diskFull(/"(\/[^"]+)"/.exec(message)?.[1] ?? temporary, cause)
  }
  const at = sql.length > 2000 ? `${sql.slice(0, 2000)} ...` : sql
  if (message.startsWith('Out of Memory Error')) {
    const [first = ''] = message.split('\n')
    return new MillraceError('NEEDS_MORE_MEMORY', { message: first, at, hint: 'raise MEMORY_LIMIT', cause })
  }
  return new MillraceError('DUCKDB_FAILED', { message, at, cause })
}

// The two names of `schema.name`, as they are without quotes.
function pathOf(name: string): readonly [string, string] {
  const names = name.match(/"(?:[^"]|"")*"|[^".]+/g) ?? []
  const [schema = '', table = ''] = names.map((each) =>
    each.startsWith('"') ? each.slice(1, -1).replaceAll('""', '"') : each,
  )
  return [schema, table]
}

/** Where one process puts what passes between DuckDB and Postgres. */
export function spoolFolder(dataDirectory: string): string {
  return join(dataDirectory, 'spool')
}

/** Where followers keep files. */
export function keptFolder(dataDirectory: string): string {
  return join(dataDirectory, 'kept')
}

/** What one of them keeps. */
export function followerFolder({ dataDirectory }: { dataDirectory: string }, system: string, follower: string): string {
  return join(keptFolder(dataDirectory), `${system}-${follower}`)
}

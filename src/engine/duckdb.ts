/**
 * DuckDB in this process: in memory, with bounded memory, and shut off from everything but the spool. The only file that
 * imports it.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type DuckDBConnection,
  DuckDBInstance,
  type DuckDBPreparedStatement,
  type DuckDBResultReader,
} from '@duckdb/node-api'
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
    return new DuckSession(await this.#instance.connect(), this.#options.temporary, this.keepsPlans)
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

  constructor(connection: DuckDBConnection, temporary: string, keepsPlans = false) {
    this.#connection = connection
    this.#temporary = temporary
    this.#plans = keepsPlans ? new Plans(connection) : undefined
  }

  /** Runs a statement and answers how many rows it changed. */
  async run(sql: string): Promise<number> {
    try {
      const result = await ((await this.#plans?.of(sql))?.run() ?? this.#connection.run(sql))
      return result.rowsChanged
    } catch (error) {
      throw failed(sql, error, this.#temporary)
    }
  }

  /** Runs a `create ... as`, and answers how many rows it has made; a view makes none. */
  async make(sql: string): Promise<number> {
    try {
      const [row] = (await this.#read(sql)).getRows()
      return Number(row?.[0] ?? 0)
    } catch (error) {
      throw failed(sql, error, this.#temporary)
    }
  }

  /** Rows as plain objects: 64-bit integers and decimals are texts; cast counts to integer. For small results. */
  async rows<Row extends Record<string, unknown>>(sql: string): Promise<Row[]> {
    try {
      const reader = await this.#read(sql)
      // as: the caller names the columns of its own statement
      return reader.getRowObjectsJson() as Row[]
    } catch (error) {
      throw failed(sql, error, this.#temporary)
    }
  }

  /** The only column of a result, doubles. */
  async numbers(sql: string): Promise<readonly number[]> {
    try {
      const [column = []] = (await this.#read(sql)).getColumns()
      // as: the statement casts to double
      return column as number[]
    } catch (error) {
      throw failed(sql, error, this.#temporary)
    }
  }

  async count(relation: string): Promise<number> {
    const [row] = await this.rows<{ n: number }>(`select count(*)::integer as n from ${relation}`)
    return row?.n ?? 0
  }

  async #read(sql: string): Promise<DuckDBResultReader> {
    return await ((await this.#plans?.of(sql))?.runAndReadAll() ?? this.#connection.runAndReadAll(sql))
  }

  /** Plans hold the tables they speak of, though these are dropped. */
  forgetPlans(): void {
    this.#plans?.forget()
  }

  close(): void {
    this.forgetPlans()
    this.#connection.closeSync()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The statements that a connection has met before, planned. DuckDB plans one again when what it speaks of has changed. */
class Plans {
  readonly #connection: DuckDBConnection
  readonly #met = new Set<string>()
  readonly #kept = new Map<string, DuckDBPreparedStatement>()

  constructor(connection: DuckDBConnection) {
    this.#connection = connection
  }

  /** The plan of a statement that comes for the second time, or again. */
  async of(sql: string): Promise<DuckDBPreparedStatement | undefined> {
    if (!planned.test(sql) || once.test(sql)) return undefined
    const kept = this.#kept.get(sql)
    if (kept !== undefined) {
      // the least used is the first
      this.#kept.delete(sql)
      this.#kept.set(sql, kept)
      return kept
    }
    if (!this.#met.delete(sql)) {
      this.#met.add(sql)
      if (this.#met.size > mostPlans) this.#met.delete(first(this.#met))
      return undefined
    }
    const plan = await this.#connection.prepare(sql)
    this.#kept.set(sql, plan)
    if (this.#kept.size > mostPlans) {
      const least = first(this.#kept.keys())
      this.#kept.get(least)?.destroySync()
      this.#kept.delete(least)
    }
    return plan
  }

  forget(): void {
    for (const plan of this.#kept.values()) plan.destroySync()
    this.#kept.clear()
    this.#met.clear()
  }
}

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

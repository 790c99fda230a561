/** What a server asks of Postgres: over sessions of its own, so that slow questions keep no worker waiting, and end. */
import type pg from 'pg'
import { type Client, inTransaction, leaveOwnSchema, openPool, type ServerConfig } from './connection.ts'
import { countDeadLetters, findDeadLetters } from './dead-letters.ts'
import { readLedger, readStatus } from './ledger.ts'
import type {
  DeadLetter,
  DeadLetterCount,
  DeadLetterFilter,
  DeadLetterQuery,
  LedgerLine,
  LedgerQuery,
  PipelineStatus,
  Store,
} from './store.ts'

/** A question that takes longer is ended by the database. */
export const longestReadMs = 15_000

const sessions = 3

export class Reads implements AsyncDisposable, Pick<Store, 'status' | 'ledger' | 'deadLetters' | 'countDeadLetters'> {
  // it has no sessions until something is asked
  readonly #pool: pg.Pool

  constructor(config: ServerConfig) {
    this.#pool = openPool(config, {
      max: sessions,
      // a server that is silent ends nothing
      query_timeout: longestReadMs + 5_000,
      onConnect: async (client) => {
        await leaveOwnSchema(client)
        await client.query(`set statement_timeout = ${longestReadMs}`)
        await client.query('set default_transaction_read_only = on')
      },
    })
  }

  async status(): Promise<PipelineStatus[]> {
    return await readStatus(this.#pool)
  }

  async ledger(pipeline: string, query: LedgerQuery): Promise<LedgerLine[]> {
    return await readLedger(this.#pool, pipeline, query)
  }

  async deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]> {
    return await findDeadLetters(this.#pool, query)
  }

  async countDeadLetters(filter: DeadLetterFilter): Promise<DeadLetterCount[]> {
    return await countDeadLetters(this.#pool, filter)
  }

  async select(sql: string, parameters: unknown[] = []): Promise<Record<string, unknown>[]> {
    const { rows } = await this.#pool.query(oneStatement(sql, parameters))
    return rows
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end()
  }
}

/** Runs one select in a read-only transaction. */
export async function selectOnly(
  pool: pg.Pool,
  sql: string,
  parameters: unknown[],
): Promise<Record<string, unknown>[]> {
  const work = async (client: Client): Promise<Record<string, unknown>[]> => {
    const { rows } = await client.query(oneStatement(sql, parameters))
    return rows
  }
  return await inTransaction(pool, work, 'begin read only')
}

// The extended protocol takes one statement only: a second one could end the transaction and write.
function oneStatement(text: string, values: unknown[]): pg.QueryConfig & { queryMode: string } {
  return { text, values, queryMode: 'extended' }
}

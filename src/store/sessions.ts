/** Sessions for who works beside the pipelines: transactions that write, and channels that are listened to. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { type Client, connect, hangUp, inTransaction, openPool, type ServerConfig } from './connection.ts'

export interface Listener {
  channel: string
  /** Told of each notification. */
  onMessage(payload: string): void
  /** Told when it is listened to from now on, and when it is not any more: what was said in between is lost. */
  onOpen?(): void
  onLost?(): void
}

/** How often a session that listens is asked whether it still does. */
const askEveryMs = 5_000
const connectAgainMs = 500

export class Sessions implements AsyncDisposable {
  readonly #config: ServerConfig
  readonly #pool: pg.Pool
  readonly #stop = new AbortController()
  readonly #listening: Promise<void>[] = []

  constructor(config: ServerConfig, sessions: number) {
    this.#config = config
    this.#pool = openPool(config, { max: sessions })
  }

  async query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }> {
    return await this.#pool.query(text, values)
  }

  async transaction<T>(work: (client: Client) => Promise<T>): Promise<T> {
    return await inTransaction(this.#pool, work)
  }

  /** Listens until this is closed, whatever becomes of the session that does. */
  listen(listener: Listener): void {
    this.#listening.push(this.#listen(listener))
  }

  async #listen({ channel, onMessage, onOpen, onLost }: Listener): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const ended = new AbortController()
      const client = await connect({
        ...this.#config,
        application_name: `millrace ${channel}`,
        query_timeout: askEveryMs,
      })
        // it is tried again below; who works with the database says what is wrong with it
        .catch(() => undefined)
      try {
        if (client !== undefined) {
          client.on('end', () => ended.abort())
          client.on('notification', ({ payload = '' }) => onMessage(payload))
          await client.query(`listen ${channel}`)
          onOpen?.()
          await this.#whileItAnswers(client, ended.signal)
        }
      } catch {
        // the session is gone
      }
      if (client !== undefined) {
        onLost?.()
        await hangUp(client)
      }
      await sleep(connectAgainMs, undefined, { signal }).catch(() => {})
    }
  }

  async #whileItAnswers(client: Client, ended: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([ended, this.#stop.signal])
    while (!signal.aborted) {
      await sleep(askEveryMs, undefined, { signal }).catch(() => {})
      if (!signal.aborted) await client.query('select 1')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#listening)
    await this.#pool.end()
  }
}

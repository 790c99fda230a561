/** One connection to a broker: opened when it is first used, and anew when it broke. */
import { isIP } from 'node:net'
import { type API, Connection, type ConnectionOptions, ResponseError } from '@platformatic/kafka'
import { connectFailure, lostConnection } from './failure.ts'

export interface Address {
  host: string
  port: number
}

export class Link implements Disposable {
  readonly address: Address
  readonly #options: ConnectionOptions
  #connection: Promise<Connection> | undefined
  /** What the connection broke with: those who wait for answers are only told that it is closed. */
  #fault: Error | undefined

  constructor(address: Address, options: ConnectionOptions) {
    this.address = address
    this.#options = options
  }

  /** Asks, and answers also what is refused in part or whole: each part of an answer has a code of its own. */
  async ask<Args extends unknown[], Answer>(api: API<Args, Answer>, ...args: Args): Promise<Answer> {
    const opened = this.#open()
    const connection = await opened
    try {
      return await api.async(connection, ...args)
    } catch (error) {
      // as: the library read the answer by the same parser before it threw it
      if (error instanceof ResponseError) return error['response'] as Answer
      if (this.#connection === opened) this.#connection = undefined
      connection.socket?.destroy()
      throw lostConnection(this.address, this.#options, this.#fault ?? error)
    }
  }

  [Symbol.dispose](): void {
    const connection = this.#connection
    this.#connection = undefined
    connection?.then(
      (opened) => opened.socket?.destroy(),
      () => {},
    )
  }

  #open(): Promise<Connection> {
    this.#connection ??= this.#connect().catch((error: unknown) => {
      this.#connection = undefined
      throw connectFailure(this.address, this.#options, error)
    })
    return this.#connection
  }

  async #connect(): Promise<Connection> {
    const { host, port } = this.address
    // proxies tell brokers apart by the name that TLS begins with; an address is not allowed to be one
    const tlsServerName = isIP(host) === 0
    const connection = new Connection('millrace', { ...this.#options, tlsServerName })
    // what breaks is told to those whose requests are under way; without a listener it would end the process
    connection.on('error', (error) => {
      this.#fault = error
    })
    connection.on('close', () => {
      this.#connection = undefined
    })
    await connection.connect(host, port)
    this.#fault = undefined
    return connection
  }
}

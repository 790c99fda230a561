/** Bodies on their way in, in memory until their request is answered: no more of each, and of all together, than is allowed. */
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { ProblemError } from '../problem.ts'

export class Bodies {
  readonly #bodyBytes: number
  readonly #allBytes: number
  #held = 0

  constructor(bodyBytes: number, allBytes: number) {
    this.#bodyBytes = bodyBytes
    this.#allBytes = allBytes
  }

  /** The bytes of a body, to be released when its request is over. */
  async read(request: Readable & Pick<IncomingMessage, 'headers'>): Promise<Buffer> {
    if (Number(request.headers['content-length'] ?? 0) > this.#bodyBytes) throw this.#tooLarge()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const chunks: Buffer[] = []
    let length = 0
    let over = false
    const stop = (problem?: ProblemError): void => {
      if (over) return
      over = true
      if (problem === undefined) resolve()
      else {
        this.release(length)
        chunks.length = 0
        reject(problem)
      }
    }
    request.on('data', (chunk: Buffer) => {
      // what still comes is passed over until the connection ends
      if (over) return
      length += chunk.length
      this.#held += chunk.length
      if (length > this.#bodyBytes) stop(this.#tooLarge())
      else if (this.#held > this.#allBytes) stop(tooMany())
      else chunks.push(chunk)
    })
    request.on('end', () => stop())
    for (const event of ['error', 'close'])
      request.on(event, () => {
        if (!over) stop(new ProblemError(400, 'BAD_REQUEST', 'the connection ended before the body did'))
      })
    await promise
    const [only] = chunks
    return only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks, length)
  }

  release(bytes: number): void {
    this.#held -= bytes
  }

  #tooLarge(): ProblemError {
    const detail = `the body has more than ${this.#bodyBytes} bytes`
    return new ProblemError(413, 'TOO_LARGE', detail, 'post the events in parts; INGEST_MAX_BODY is the limit')
  }
}

function tooMany(): ProblemError {
  return new ProblemError(503, 'BUSY', 'too many bytes are being posted at once', 'post the events again in a moment')
}

/**
 * Buffers that are used again: of a reader that catches up, each batch would else take 16 megabytes anew, which stay in memory
 * until the collector has been round.
 */
export class SpareBuffers {
  readonly #spare = new Map<number, Buffer<ArrayBuffer>[]>()
  #bytes = 0

  /** So many bytes that nobody else has, whatever is in them. */
  take(bytes: number): Buffer<ArrayBuffer> {
    const found = this.#spare.get(bytes)?.pop()
    if (found === undefined) return Buffer.allocUnsafeSlow(bytes)
    this.#bytes -= bytes
    return found
  }

  /** Gives back what was taken, once nobody reads it any more. */
  give(buffers: readonly Buffer<ArrayBuffer>[]): void {
    for (const buffer of buffers) {
      if (this.#bytes + buffer.length > mostBytes) return
      const same = this.#spare.get(buffer.length)
      if (same === undefined) this.#spare.set(buffer.length, [buffer])
      else same.push(buffer)
      this.#bytes += buffer.length
    }
  }
}

const mostBytes = 32 * 1024 * 1024

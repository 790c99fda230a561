/**
 * Buffers that are used again. New ones for each batch would be hundreds of megabytes a second, for which the collector
 * would go through all that is there, again and again.
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

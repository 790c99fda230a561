import { type FileHandle, open } from 'node:fs/promises'

/** A file that was read, and by what it is known again. */
export interface ReadFile {
  path: string
  size: number
  mtimeMs: number
}

/** Bytes read at a time. */
const windowBytes = 1024 * 1024

/** Reads parts of files again, best in order: neighbours come with one reading. */
export class SpanReader implements AsyncDisposable {
  readonly #files: ReadFile[]
  #handle: FileHandle | undefined
  #file = -1
  #from = 0
  #window = Buffer.alloc(0)

  constructor(files: ReadFile[]) {
    this.#files = files
  }

  /** `span` is `<first byte>+<bytes>`; undefined when the file is not what it was when its rows were cut. */
  async read(file: number, span: string): Promise<Buffer | undefined> {
    if (file !== this.#file) await this.#open(file)
    if (this.#handle === undefined) return undefined
    const [from, length] = placeOf(span)
    const window = Buffer.allocUnsafe(Math.max(windowBytes, length))
    const { bytesRead } = await this.#handle.read(window, 0, window.length, from)
    this.#from = from
    this.#window = window.subarray(0, bytesRead)
    return this.#window.subarray(0, length)
  }

  /** The same, where it was read together with the one before. */
  within(file: number, span: string): Buffer | undefined {
    const [from, length] = placeOf(span)
    const at = from - this.#from
    if (file !== this.#file || at < 0 || at + length > this.#window.length) return undefined
    return this.#window.subarray(at, at + length)
  }

  async #open(file: number): Promise<void> {
    const expected = this.#files[file]
    await this.#handle?.close()
    this.#file = file
    this.#window = Buffer.alloc(0)
    this.#handle = await open(expected?.path ?? '', 'r').catch(() => undefined)
    const found = await this.#handle?.stat()
    if (found === undefined || (found.size === expected?.size && found.mtimeMs === expected.mtimeMs)) return
    await this.#handle?.close()
    this.#handle = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close()
  }
}

function placeOf(span: string): [number, number] {
  const plus = span.indexOf('+')
  return [Number(span.slice(0, plus)), Number(span.slice(plus + 1))]
}

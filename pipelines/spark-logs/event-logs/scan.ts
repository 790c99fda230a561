/** Passes over values of JSON in bytes, without making anything of them. */

export const quote = 0x22
export const comma = 0x2c
export const openBrace = 0x7b
export const closeBrace = 0x7d
const [backslash, openBracket, closeBracket] = [0x5c, 0x5b, 0x5d]

const illegal = 0
const scalar = 1
const opens = 2
const closes = 3
const begins = 4
const separates = 5

/** What a byte is outside of texts. Spark writes no white space. */
const kinds = new Uint8Array(256)
for (const byte of Buffer.from('0123456789+-.eEtrufalsn')) kinds[byte] = scalar
for (const byte of Buffer.from('{[')) kinds[byte] = opens
for (const byte of Buffer.from('}]')) kinds[byte] = closes
for (const byte of Buffer.from(',:')) kinds[byte] = separates
kinds[quote] = begins

/** The place after a value, or -1 where it is none that Spark would write. The line has its end: nothing is read behind it. */
export function skipValue(bytes: Uint8Array, at: number): number {
  const first = bytes[at]
  if (first === quote) return skipText(bytes, at + 1)
  if (first === openBrace || first === openBracket) return skipNested(bytes, at + 1, 1)
  let end = at
  while (kinds[bytes[end] ?? 0] === scalar) end++
  return end === at ? -1 : end
}

/** The place after the bracket that ends the value inside of which `at` is, `depth` deep. */
export function skipNested(bytes: Uint8Array, at: number, depth: number): number {
  let [end, open] = [at, depth]
  for (;;) {
    const kind = kinds[bytes[end++] ?? 0]
    if (kind === begins) {
      end = skipText(bytes, end)
      if (end < 0) return -1
    } else if (kind === opens) open++
    else if (kind === closes) {
      if (--open === 0) return end
    } else if (kind === illegal) return -1
  }
}

/** The place after the quote that ends a text; `at` is after the one that begins it. */
export function skipText(bytes: Uint8Array, at: number): number {
  let end = at
  for (;;) {
    const byte = bytes[end++] ?? 0
    if (byte === quote) return end
    if (byte === backslash) end++
    else if (byte < 0x20) return -1
  }
}

export { closeBracket, openBracket }

/** Whether these bytes stand there. */
export function stands(bytes: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word[i]) return false
  return true
}

/** Bytes on their way to a file: the same memory is used again and again. */
export class Bytes {
  buffer = Buffer.allocUnsafeSlow(2 * 1024 * 1024)
  used = 0

  /** So many more bytes can be put into the buffer. */
  makeRoom(more: number): void {
    if (this.buffer.length - this.used >= more) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.used + more))
    this.buffer.copy(larger, 0, 0, this.used)
    this.buffer = larger
  }

  add(bytes: Buffer, from: number, to: number): void {
    this.makeRoom(to - from)
    this.used += bytes.copy(this.buffer, this.used, from, to)
  }

  addByte(byte: number): void {
    this.makeRoom(1)
    this.buffer[this.used++] = byte
  }
}

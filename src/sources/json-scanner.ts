/**
 * Scans JSON where it lies, value after value, without making JavaScript values of it. The grammar is that of RFC 8259, no
 * more: no comments, no NaN, no trailing comma.
 */

/** The deepest nesting of a value. */
export const maxDepth = 500

const LF = 10
const SPACE = 32
const QUOTE = 34
const PLUS = 43
const COMMA = 44
const MINUS = 45
const POINT = 46
const ZERO = 48
const NINE = 57
const COLON = 58
const OPEN_LIST = 91
const BACKSLASH = 92
const OPEN_OBJECT = 123

/** 1 for the bytes at which scanning a string must stop: the quote, the backslash, control characters. */
const endsPlain = new Uint8Array(256).fill(1, 0, SPACE)
endsPlain[QUOTE] = 1
endsPlain[BACKSLASH] = 1
/** The same, where it is not known yet whether the bytes are UTF-8: it stops at the first of another character than ASCII. */
const endsAscii = endsPlain.slice().fill(1, 128)

/** 1 for what may stand between values. */
export const isBlank = new Uint8Array(256)
// a line has no LF; a record that stands alone may have some
for (const blank of [9, LF, 13, SPACE]) isBlank[blank] = 1

/** What a value is. */
export const absent = 0
export const plainText = 1
export const escapedText = 2
export const plainNumber = 3
export const fraction = 4
export const exponent = 5
export const word = 6
export const nested = 7

export type JsonProblem =
  | 'NOT_JSON'
  | 'NOT_AN_OBJECT'
  | 'DUPLICATE_KEY'
  | 'UNKNOWN_COLUMN'
  | 'WRONG_TYPE'
  | 'TOO_DEEP'
  | 'INVALID_UTF8'
  | JsonText
/** What JSON can write, and no text can be. */
export type JsonText = 'NUL_BYTE' | 'LONE_SURROGATE'

/** What is wrong; `at` is the byte, `column` the one a person should look at. */
export class BadJson {
  readonly code: JsonProblem
  readonly at: number
  readonly column: string
  constructor(code: JsonProblem, at: number, column = '') {
    this.code = code
    this.at = at
    this.column = column
  }
}

/** Throws BadJson. One scanner serves value after value. */
export class JsonScanner {
  /** Behind the value just scanned. */
  at = 0
  kind = absent
  badText: JsonText | undefined
  /** Whether all texts since this was set were; known only after `watchAscii`. */
  isAscii = true
  /** At which bytes scanning a string stops. */
  #ends = endsPlain
  readonly #stack = new Uint8Array(maxDepth + 1)

  /** From here on it is seen by the way whether texts are ASCII. */
  watchAscii(): void {
    this.#ends = endsAscii
  }

  get watchesAscii(): boolean {
    return this.#ends === endsAscii
  }

  /** The value at `from`; afterwards `at` stands behind it and `kind` says what it is. */
  value(bytes: Buffer, from: number, end: number): void {
    this.badText = undefined
    if (from >= end) throw new BadJson('NOT_JSON', end)
    const byte = bytes[from] as number
    if (byte === QUOTE) this.string(bytes, from, end)
    else if (byte === MINUS || (byte >= ZERO && byte <= NINE)) this.#number(bytes, from, end)
    else if (byte === OPEN_OBJECT || byte === OPEN_LIST) this.#nested(bytes, from, end)
    else this.#word(bytes, from, end)
  }

  /** The string at `from`. */
  string(bytes: Buffer, from: number, end: number): void {
    let at = from + 1
    let escaped = false
    const ends = this.#ends
    for (;;) {
      while (ends[bytes[at] as number] === 0) at++
      if ((bytes[at] as number) > 127) {
        this.isAscii = false
        while (endsPlain[bytes[at] as number] === 0) at++
      }
      // what follows is an LF, another record, or the end of the buffer, whose undefined ends the loop too
      if (at >= end) throw new BadJson('NOT_JSON', end)
      if (bytes[at] === QUOTE) break
      if (bytes[at] !== BACKSLASH) throw new BadJson('NOT_JSON', at)
      escaped = true
      at = this.#escape(bytes, at, end)
    }
    this.at = at + 1
    this.kind = escaped ? escapedText : plainText
  }

  #escape(bytes: Buffer, from: number, end: number): number {
    const letter = bytes[from + 1] as number
    if (from + 1 >= end) throw new BadJson('NOT_JSON', end)
    if (letter !== 117) {
      if (escapes[letter] === 0) throw new BadJson('NOT_JSON', from)
      return from + 2
    }
    const unit = hexUnit(bytes, from + 2, end)
    if (unit < 0) throw new BadJson('NOT_JSON', from)
    if (unit === 0) this.badText ??= 'NUL_BYTE'
    if (unit < 0xd800 || unit > 0xdfff) return from + 6
    const pair = unit < 0xdc00 && bytes[from + 6] === BACKSLASH && bytes[from + 7] === 117
    const second = pair ? hexUnit(bytes, from + 8, end) : 0
    if (second < 0) throw new BadJson('NOT_JSON', from + 6)
    if (second >= 0xdc00 && second <= 0xdfff) return from + 12
    this.badText ??= 'LONE_SURROGATE'
    return from + 6
  }

  #number(bytes: Buffer, from: number, end: number): void {
    let at = bytes[from] === MINUS ? from + 1 : from
    this.kind = plainNumber
    if (bytes[at] === ZERO && at < end) at++
    else at = this.#digits(bytes, at, end)
    if (bytes[at] === POINT && at < end) {
      at = this.#digits(bytes, at + 1, end)
      this.kind = fraction
    }
    if (at < end && ((bytes[at] as number) | 32) === 101) {
      at++
      if (bytes[at] === PLUS || bytes[at] === MINUS) at++
      at = this.#digits(bytes, at, end)
      this.kind = exponent
    }
    this.at = at
  }

  #digits(bytes: Buffer, from: number, end: number): number {
    let at = from
    while (at < end && (bytes[at] as number) >= ZERO && (bytes[at] as number) <= NINE) at++
    if (at === from) throw new BadJson('NOT_JSON', at)
    return at
  }

  #word(bytes: Buffer, from: number, end: number): void {
    for (const [text, kind] of words) {
      if (from + text.length <= end && bytes.toString('latin1', from, from + text.length) === text) {
        this.at = from + text.length
        this.kind = kind
        return
      }
    }
    throw new BadJson('NOT_JSON', from)
  }

  // Without recursion, so that no depth of nesting can exhaust the stack.
  #nested(bytes: Buffer, from: number, end: number): void {
    const stack = this.#stack
    let depth = 0
    let at = from
    let badText: JsonText | undefined
    // whether a value must follow; else a comma or an end
    let value = true
    for (;;) {
      while (at < end && isBlank[bytes[at] as number] === 1) at++
      if (at >= end) throw new BadJson('NOT_JSON', end)
      const byte = bytes[at] as number
      if (value) {
        if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
          if (depth === maxDepth) throw new BadJson('TOO_DEEP', at)
          stack[depth++] = byte
          at = skipBlanks(bytes, at + 1, end)
          if (bytes[at] === byte + 2) value = false
          else if (byte === OPEN_OBJECT) at = this.#nestedKey(bytes, at, end)
          badText ??= this.badText
          continue
        }
        this.value(bytes, at, end)
        badText ??= this.badText
        at = this.at
        value = false
        continue
      }
      if (depth > 0 && byte === (stack[depth - 1] as number) + 2) {
        at++
        depth--
        if (depth === 0) break
      } else if (byte === COMMA && depth > 0) {
        at = skipBlanks(bytes, at + 1, end)
        if (stack[depth - 1] === OPEN_OBJECT) at = this.#nestedKey(bytes, at, end)
        badText ??= this.badText
        value = true
      } else throw new BadJson('NOT_JSON', at)
    }
    this.badText = badText
    this.at = at
    this.kind = nested
  }

  #nestedKey(bytes: Buffer, from: number, end: number): number {
    this.badText = undefined
    if (bytes[from] !== QUOTE || from >= end) throw new BadJson('NOT_JSON', from)
    this.string(bytes, from, end)
    const at = skipBlanks(bytes, this.at, end)
    if (bytes[at] !== COLON || at >= end) throw new BadJson('NOT_JSON', at)
    return at + 1
  }
}

const words: [string, number][] = [
  ['null', word],
  ['true', word],
  ['false', word],
]

const escapes = new Uint8Array(256)
for (const letter of '"\\/bfnrt') escapes[letter.charCodeAt(0)] = 1

function hexUnit(bytes: Buffer, from: number, end: number): number {
  if (from + 4 > end) return -1
  const text = bytes.toString('latin1', from, from + 4)
  return /^[0-9a-fA-F]{4}$/.test(text) ? Number.parseInt(text, 16) : -1
}

/** The first byte from there on that is no blank. */
export function skipBlanks(bytes: Buffer, from: number, end: number): number {
  let at = from
  while (at < end && isBlank[bytes[at] as number] === 1) at++
  return at
}

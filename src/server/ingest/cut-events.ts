/**
 * Cuts the events out of a body where they lie: one JSON object, an array of them, or a line for each. No JavaScript value
 * is made of any; what is wrong is told with the place of the event.
 */
import { isUtf8 } from 'node:buffer'
import { BadJson, JsonScanner, maxDepth, skipBlanks } from '../../sources/json-scanner.ts'

export type BodyForm = 'json' | 'lines'

/** What is wrong with an event of a body. */
export interface EventFault {
  /** Its place among the events, from 0. */
  index: number
  /** Of a body of lines: the line on which it stands, from 1. */
  line?: number
  code: string
  message: string
}

export interface CutEvents {
  /** Two numbers for each event: where it begins, and where it ends. */
  spans: Uint32Array
  faults: EventFault[]
}

/** Events of one body at most. */
export const mostEvents = 100_000
/** So many faults are told; a body that has more is not looked at any further. */
export const faultsTold = 100

/** The codes are those of dead letters. */
const faultSays = {
  NOT_JSON: 'this is not JSON',
  NOT_AN_OBJECT: 'this is JSON, but no object',
  TOO_DEEP: `this is nested deeper than ${maxDepth} levels`,
  INVALID_UTF8: 'this is not valid UTF-8',
  ROW_TOO_LONG: 'this is too long',
} as const

type FaultCode = keyof typeof faultSays

const LF = 10
const COMMA = 44
const OPEN_LIST = 91
const CLOSE_LIST = 93
const OPEN_OBJECT = 123

const scanner = new JsonScanner()

export function cutEvents(bytes: Buffer, form: BodyForm, eventBytes: number): CutEvents {
  const cut = new Cut(bytes, eventBytes)
  if (form === 'lines') cutLines(bytes, cut)
  else cutJson(bytes, cut)
  return { spans: cut.spans.subarray(0, 2 * cut.events), faults: cut.faults }
}

function cutJson(bytes: Buffer, cut: Cut): void {
  const end = bytes.length
  const first = skipBlanks(bytes, 0, end)
  if (first === end) cut.fault('NOT_JSON', 'the body is empty')
  else if (bytes[first] === OPEN_LIST) cutList(bytes, first, cut)
  else cut.event(first, end, 'alone')
}

function cutList(bytes: Buffer, from: number, cut: Cut): void {
  const end = bytes.length
  let at = skipBlanks(bytes, from + 1, end)
  while (bytes[at] !== CLOSE_LIST || cut.events + cut.faults.length > 0) {
    if (cut.full || !cut.event(at, end, 'in a list')) return
    at = skipBlanks(bytes, scanner.at, end)
    if (bytes[at] === CLOSE_LIST) break
    if (bytes[at] !== COMMA) {
      cut.fault('NOT_JSON', cut.placeOf(at))
      return
    }
    at = skipBlanks(bytes, at + 1, end)
  }
  const next = skipBlanks(bytes, at + 1, end)
  if (next < end) cut.fault('NOT_JSON', cut.placeOf(next))
}

function cutLines(bytes: Buffer, cut: Cut): void {
  for (let from = 0; from < bytes.length && !cut.full; ) {
    cut.line++
    const found = bytes.indexOf(LF, from)
    const end = found < 0 ? bytes.length : found
    const at = skipBlanks(bytes, from, end)
    if (at < end) cut.event(at, end, 'alone')
    from = end + 1
  }
}

class Cut {
  events = 0
  spans = new Uint32Array(2)
  faults: EventFault[] = []
  /** The line at hand, of a body of lines. */
  line = 0
  readonly #bytes: Buffer
  readonly #eventBytes: number
  readonly #isText: boolean

  constructor(bytes: Buffer, eventBytes: number) {
    this.#bytes = bytes
    this.#eventBytes = eventBytes
    this.#isText = isUtf8(bytes)
  }

  get full(): boolean {
    return this.faults.length >= faultsTold || this.events > mostEvents
  }

  /** Takes the value at a place, if it is an event. False when the value has no end: of what follows nothing is known. */
  event(from: number, end: number, stands: 'alone' | 'in a list'): boolean {
    const bytes = this.#bytes
    try {
      scanner.value(bytes, from, end)
    } catch (problem) {
      if (!(problem instanceof BadJson)) throw problem
      const code = problem.code === 'TOO_DEEP' ? 'TOO_DEEP' : 'NOT_JSON'
      this.fault(this.#isText ? code : 'INVALID_UTF8', this.placeOf(problem.at))
      return false
    }
    const to = scanner.at
    const next = stands === 'alone' ? skipBlanks(bytes, to, end) : end
    if (!this.#isText && !isUtf8(bytes.subarray(from, to))) this.fault('INVALID_UTF8', this.placeOf(from))
    else if (next < end) this.fault('NOT_JSON', this.placeOf(next))
    else if (bytes[from] !== OPEN_OBJECT) this.fault('NOT_AN_OBJECT', this.placeOf(from))
    else if (to - from > this.#eventBytes)
      this.fault('ROW_TOO_LONG', `it has ${to - from} bytes, and INGEST_MAX_EVENT is ${this.#eventBytes}`)
    else this.#add(from, to)
    return true
  }

  fault(code: FaultCode, more: string): void {
    const index = this.events + this.faults.length
    const line = this.line === 0 ? {} : { line: this.line }
    this.faults.push({ index, ...line, code, message: `${faultSays[code]}: ${more}` })
  }

  placeOf(at: number): string {
    return `at byte ${Math.min(at, this.#bytes.length) + 1} of the body`
  }

  #add(from: number, to: number): void {
    const place = 2 * this.events++
    if (place === this.spans.length) {
      const larger = new Uint32Array(4 * place)
      larger.set(this.spans)
      this.spans = larger
    }
    this.spans[place] = from
    this.spans[place + 1] = to
  }
}

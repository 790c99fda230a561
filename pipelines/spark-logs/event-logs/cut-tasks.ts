/**
 * Tasks that begin and that end well are most of a log, and their lines look alike: their values are taken out of the bytes
 * as they stand there, into CSV. A line that is anything else is left to DuckDB, which reads them all.
 */
import { metrics } from './parse.ts'
import { Bytes, closeBrace, comma, openBrace, quote, skipText, skipValue, stands } from './scan.ts'

type Kind = 'integer' | 'bigint' | 'boolean' | 'text'

/** Columns of the CSV behind the first, which says whether the task has ended. */
const plain: Record<string, [path: string[], kind: Kind]> = {
  stage_id: [['Stage ID'], 'integer'],
  stage_attempt: [['Stage Attempt ID'], 'integer'],
  task_type: [['Task Type'], 'text'],
  reason: [['Task End Reason', 'Reason'], 'text'],
  task_id: [['Task Info', 'Task ID'], 'bigint'],
  task_index: [['Task Info', 'Index'], 'integer'],
  task_attempt: [['Task Info', 'Attempt'], 'integer'],
  partition_id: [['Task Info', 'Partition ID'], 'integer'],
  launched_ms: [['Task Info', 'Launch Time'], 'bigint'],
  finished_ms: [['Task Info', 'Finish Time'], 'bigint'],
  getting_result_ms: [['Task Info', 'Getting Result Time'], 'bigint'],
  executor: [['Task Info', 'Executor ID'], 'text'],
  host: [['Task Info', 'Host'], 'text'],
  locality: [['Task Info', 'Locality'], 'text'],
  speculative: [['Task Info', 'Speculative'], 'boolean'],
}
const ofMetrics = Object.entries(metrics).map(([name, path]): [string, [string[], Kind]] => [
  name,
  [['Task Metrics', ...path], 'bigint'],
])
const columns = Object.entries(plain).concat(ofMetrics)
const reasonColumn = columns.findIndex(([name]) => name === 'reason')
const idColumn = columns.findIndex(([name]) => name === 'task_id')

/** What an object of a line has inside. */
interface Shape {
  keys: Key[]
}

interface Key {
  /** As it is written, with its last quote and the colon. */
  bytes: Buffer
  /** Where its value goes, or -1. */
  column: number
  kind: Kind
  inside: Shape | undefined
}

/** Keys that nobody asks for are learned, so that the next line is compared with the one before it. */
const mostKeys = 100
const none = -1

function shapeOf(): Shape {
  const root: Shape = { keys: [] }
  for (const [column, [, [path, kind]]] of columns.entries()) {
    let shape = root
    for (const name of path.slice(0, -1)) {
      const inside: Shape = keyIn(shape, name)?.inside ?? { keys: [] }
      if (keyIn(shape, name) === undefined)
        shape.keys.push({ bytes: written(name), column: none, kind: 'text', inside })
      shape = inside
    }
    shape.keys.push({ bytes: written(path.at(-1) ?? ''), column, kind, inside: undefined })
  }
  return root
}

const written = (name: string): Buffer => Buffer.from(`${name}":`)
const keyIn = ({ keys }: Shape, name: string): Key | undefined => keys.find(({ bytes }) => bytes.equals(written(name)))

const startOfTask = Buffer.from('{"Event":"SparkListenerTaskStart",')
const endOfTask = Buffer.from('{"Event":"SparkListenerTaskEnd",')
const success = Buffer.from('Success')
const [zero, nine, minus, letterN, letterT, letterF] = [0x30, 0x39, 0x2d, 0x6e, 0x74, 0x66]
const newline = 10

/** A row is never longer than its line and these. */
const separators = columns.length + 64

export class TaskCutter {
  /** What was taken, to be written before anything more is. */
  readonly rows = new Bytes()
  readonly #shape = shapeOf()
  readonly #from = new Int32Array(columns.length)
  readonly #to = new Int32Array(columns.length)
  #bytes: Buffer = this.rows.buffer
  #hasMetrics = false

  /** Takes the line from `at` to its newline, or leaves it. */
  take(bytes: Buffer, at: number, newlineAt: number): boolean {
    const ended = stands(bytes, at, endOfTask)
    if (!ended && !stands(bytes, at, startOfTask)) return false
    this.#from.fill(0)
    this.#to.fill(0)
    this.#bytes = bytes
    this.#hasMetrics = false
    const end = this.#walk(this.#shape, at + (ended ? endOfTask : startOfTask).length)
    if (end !== newlineAt || this.#to[idColumn] === 0) return false
    // why a task did not end well has many shapes
    const [reasonFrom = 0, reasonTo = 0] = [this.#from[reasonColumn], this.#to[reasonColumn]]
    if (ended ? !stands(bytes, reasonFrom, success) || reasonTo - reasonFrom !== success.length : reasonTo !== 0)
      return false
    this.#write(ended, newlineAt - at)
    return true
  }

  // The place after the object inside of which `at` is, or -1: not what is usual.
  #walk(shape: Shape, start: number): number {
    const bytes = this.#bytes
    let at = start
    let next = 0
    if (bytes[at] === closeBrace) return at + 1
    for (;;) {
      if (bytes[at] !== quote) return none
      let key = shape.keys[next]
      if (key === undefined || !stands(bytes, at + 1, key.bytes)) {
        key = this.#find(shape, at + 1)
        if (key === undefined) return none
        next = shape.keys.indexOf(key)
      }
      next++
      at += 1 + key.bytes.length
      if (key.inside !== undefined && bytes[at] === openBrace) {
        at = this.#walk(key.inside, at + 1)
        if (key.inside === this.#metricsShape) this.#hasMetrics = true
      } else if (key.column >= 0) at = this.#value(key, at)
      else if (key.inside !== undefined && bytes[at] !== letterN) return none
      else at = skipValue(bytes, at)
      if (at < 0) return none
      if (bytes[at] === comma) at++
      else return bytes[at] === closeBrace ? at + 1 : none
    }
  }

  readonly #metricsShape = keyIn(this.#shape, 'Task Metrics')?.inside

  #find(shape: Shape, at: number): Key | undefined {
    const known = shape.keys.find((key) => stands(this.#bytes, at, key.bytes))
    if (known !== undefined) return known
    const end = skipText(this.#bytes, at)
    if (end < 0 || this.#bytes[end] !== 0x3a || shape.keys.length >= mostKeys) return undefined
    const key = {
      bytes: Buffer.from(this.#bytes.subarray(at, end + 1)),
      column: none,
      kind: 'text',
      inside: undefined,
    } as const
    shape.keys.push(key)
    return key
  }

  // Notes where the value of a column is.
  #value({ column, kind }: Key, at: number): number {
    const bytes = this.#bytes
    // said twice
    if (this.#to[column] !== 0) return none
    let end = at
    if (bytes[at] === letterN) return stands(bytes, at, nothing) ? at + nothing.length : none
    switch (kind) {
      case 'integer':
      case 'bigint': {
        if (bytes[end] === minus) end++
        const first = end
        while (isDigit(bytes[end])) end++
        const digits = end - first
        // what may be too large, and what no number begins with
        if (digits === 0 || digits > (kind === 'integer' ? 9 : 18) || (digits > 1 && bytes[first] === zero)) return none
        this.#from[column] = at
        this.#to[column] = end
        return end
      }
      case 'boolean': {
        const word = bytes[at] === letterT ? yes : bytes[at] === letterF ? no : undefined
        if (word === undefined || !stands(bytes, at, word)) return none
        this.#from[column] = at
        this.#to[column] = at + word.length
        return at + word.length
      }
      case 'text': {
        if (bytes[at] !== quote) return none
        for (end = at + 1; bytes[end] !== quote; end++) {
          const byte = bytes[end] ?? 0
          // an escape, or what only a reader of UTF-8 may judge
          if (byte < 0x20 || byte > 0x7e || byte === 0x5c) return none
        }
        this.#from[column] = at + 1
        this.#to[column] = end
        return end + 1
      }
    }
  }

  #write(ended: boolean, lineBytes: number): void {
    this.rows.makeRoom(lineBytes + separators)
    const [rows, bytes] = [this.rows.buffer, this.#bytes]
    let used = this.rows.used
    rows[used++] = ended ? letterT : letterF
    rows[used++] = comma
    rows[used++] = this.#hasMetrics ? letterT : letterF
    for (let column = 0; column < columns.length; column++) {
      rows[used++] = comma
      const to = this.#to[column] ?? 0
      if (to === 0) continue
      const isText = texts[column] === 1
      if (isText) rows[used++] = quote
      for (let at = this.#from[column] ?? 0; at < to; at++) rows[used++] = bytes[at] ?? 0
      if (isText) rows[used++] = quote
    }
    rows[used++] = newline
    this.rows.used = used
  }
}

const texts = Uint8Array.from(columns, ([, [, kind]]) => (kind === 'text' ? 1 : 0))
const nothing = Buffer.from('null')
const yes = Buffer.from('true')
const no = Buffer.from('false')

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= zero && byte <= nine

/** Tasks of a file of such rows, with the columns of those that DuckDB reads. */
export function tasksCut(path: string): string {
  const types = ['ended', 'has_metrics'].map((name) => `'${name}': 'boolean'`)
  for (const [name, [, kind]] of columns) types.push(`'${name}': '${kind === 'text' ? 'varchar' : kind}'`)
  return `
    select stage_id, coalesce(stage_attempt, 0) as stage_attempt, task_id, task_index, task_attempt, partition_id,
      launched_ms, nullif(finished_ms, 0) as finished_ms, coalesce(getting_result_ms, 0) as getting_result_ms, executor,
      host, locality, coalesce(speculative, false) as speculative, ended, task_type, reason,
      null::varchar as error_class, null::varchar as error_says, null::varchar as error, has_metrics,
      ${Object.keys(metrics)
        .map((name) => `coalesce(${name}, 0) as ${name}`)
        .join(', ')}
    from   read_csv('${path.replaceAll("'", "''")}', auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
             new_line = '\\n', nullstr = '', allow_quoted_nulls = false, columns = {${types.join(', ')}})`
}

/** Which lines need not be read by DuckDB, or not all of them: what is taken away here, nothing that is told comes from. */
import { type Bytes, closeBrace, closeBracket, comma, skipNested, skipValue, stands } from './scan.ts'

const begin = Buffer.from('{"Event":"')
const [quote, backslash, newline] = [0x22, 0x5c, 10]

const ofNoUse = [
  'SparkListenerTaskGettingResult',
  'SparkListenerStageExecutorMetrics',
  'SparkListenerExecutorMetricsUpdate',
  'SparkListenerBlockUpdated',
  'SparkListenerUnpersistRDD',
  'SparkListenerSpeculativeTaskSubmitted',
  'org.apache.spark.sql.execution.ui.SparkListenerDriverAccumUpdates',
  'org.apache.spark.sql.execution.ui.SparkListenerSQLAdaptiveSQLMetricUpdates',
].map((name) => Buffer.from(`{"Event":"${name}",`))

/** A whole event from which nothing is told. */
export function isOfNoUse(bytes: Uint8Array, at: number, newlineAt: number): boolean {
  return ofNoUse.some((name) => stands(bytes, at, name)) && skipValue(bytes, at) === newlineAt
}

const task = Buffer.from('Task')

/** An event whose name is seen at once, and that of no event of tasks. */
export function isOfNoTask(bytes: Uint8Array, at: number): boolean {
  if (!stands(bytes, at, begin)) return false
  for (let place = at + begin.length; ; place++) {
    const byte = bytes[place] ?? newline
    if (byte === quote) return true
    if (byte === backslash || byte === newline || (byte === task[0] && stands(bytes, place, task))) return false
  }
}

const rdds = Buffer.from('"RDD Info":[')
const rdd = Buffer.from('{"RDD ID":')

/**
 * Adds a line, and of it of each RDD of a stage only its number. A text has no quote without a backslash before it, so that
 * what is looked for is in none.
 */
export function addTrimmed(to: Bytes, bytes: Buffer, at: number, newlineAt: number): void {
  const before = to.used
  const line = bytes.subarray(at, newlineAt + 1)
  let from = 0
  for (let key = line.indexOf(rdds); key >= 0; key = line.indexOf(rdds, from)) {
    const list = key + rdds.length
    to.add(line, from, list)
    from = addNumbers(to, line, list)
    if (from >= 0) continue
    // nothing that Spark would write: it is left as it is
    to.used = before
    from = 0
    break
  }
  to.add(line, from, line.length)
}

// Answers where the list ends, or -1.
function addNumbers(to: Bytes, line: Buffer, list: number): number {
  let at = list
  if (line[at] === closeBracket) return at
  for (;;) {
    if (!stands(line, at, rdd)) return -1
    const numberEnd = skipValue(line, at + rdd.length)
    const end = skipNested(line, at + 1, 1)
    if (numberEnd < 0 || end < 0) return -1
    to.add(line, at, numberEnd)
    to.addByte(closeBrace)
    at = end
    if (line[at] === closeBracket) return at
    if (line[at] !== comma) return -1
    to.addByte(comma)
    at++
  }
}

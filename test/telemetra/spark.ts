/** What a real Spark says of messages of telemetra. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Value } from './world.ts'

const run = promisify(execFile)
const python = process.env['MILLRACE_SPARK_PYTHON']

/** Why there can be no Spark here, or false. */
export const noSpark: string | false =
  python === undefined ? 'Spark is not installed: .ci/setup brings it, and names it in MILLRACE_SPARK_PYTHON' : false

export interface SentMessage {
  topic: string
  /** topic/partition/offset */
  place: string
  /** What was read together: the watermark of the parts before it says what is late. */
  part: number
  value: Value
}

/** A window in which there is chat has its counts, one in which there are viewers theirs. */
export interface SparkWindow {
  stream_id: string
  window_start: number
  chat_count?: number
  unique_chatters?: number
  avg_sentiment?: number
  positive_count?: number
  negative_count?: number
  emotes?: number
  emote_counts?: Record<string, number>
  avg_viewers?: number
  peak_viewers?: number
}

export interface SparkSays {
  windows: SparkWindow[]
  /** The places of messages that it does not take for one, and of those that come too late for every window. */
  bad: string[]
  late: string[]
  /** So many are good, late ones among them. */
  good: number
}

export async function askSpark(messages: readonly SentMessage[]): Promise<SparkSays> {
  if (python === undefined) throw new Error(String(noSpark))
  const folder = await mkdtemp(join(tmpdir(), 'millrace-spark-'))
  try {
    const [given, answer] = [join(folder, 'messages.jsonl'), join(folder, 'answer.json')]
    const lines = messages.map(({ value, ...where }) => JSON.stringify({ ...where, value: base64(value) }))
    await writeFile(given, lines.join('\n'))
    const words = join(import.meta.dirname, '../../pipelines/telemetra')
    await run(python, [join(import.meta.dirname, 'spark.py'), given, answer, folder, words], {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], JAVA_HOME: process.env['JAVA_HOME'] },
      maxBuffer: 64_000_000,
    })
    // as: what spark.py writes
    return JSON.parse(await readFile(answer, 'utf8')) as SparkSays
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function base64(value: Value): string | null {
  if (value === null) return null
  const bytes = value instanceof Uint8Array ? value : typeof value === 'string' ? value : JSON.stringify(value)
  return Buffer.from(bytes).toString('base64')
}

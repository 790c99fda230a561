/** How far a pipeline is behind: its watermark behind the clock, and its rows behind what there is to read. */
import { endOfTime } from '../engine/watermark.ts'
import type { WaitingFiles } from '../sources/files/waiting.ts'
import { rowsBehind, type TopicLag } from '../sources/topic/lag.ts'

/** Of a pipeline whose last run was told that nothing follows: its watermark is behind everything. */
export const closedInWords = 'closed: nothing will follow'

export interface TimeView {
  watermark: Date | null
  /** Nothing follows: the watermark is after all time, which no date says. */
  watermark_closed: boolean
  watermark_lag_ms: number | null
}

export function timeView(watermark: Date | null, now: number): TimeView {
  const closed = watermark !== null && watermark.getTime() >= endOfTime
  if (watermark === null || closed) return { watermark: null, watermark_closed: closed, watermark_lag_ms: null }
  return { watermark, watermark_closed: false, watermark_lag_ms: now - watermark.getTime() }
}

export interface Behind {
  files: WaitingFiles
  /** Undefined when the database does not answer. */
  topics: readonly TopicLag[] | undefined
  /** The mean of the files that were read last; null when none was. */
  rowsPerFile: number | null
  /** How long the oldest file has waited. */
  seconds: number
}

export interface LagView {
  files_waiting: number
  files_claimed: number
  rows: number | null
  /** Files wait, of which nobody knows the rows: they are taken for as long as others were. */
  rows_estimated: boolean
  /** Why the rows are not known. */
  why: string | null
  seconds: number | null
}

export function lagView({ files, topics, rowsPerFile, seconds }: Behind): LagView {
  const waiting = files.waiting + files.claimed
  const inFiles = waiting === 0 ? 0 : rowsPerFile === null ? undefined : Math.round(waiting * rowsPerFile)
  const inTopics = topics === undefined ? undefined : rowsBehind(topics)
  const rows = inFiles === undefined || inTopics === undefined ? null : inFiles + inTopics
  return {
    files_waiting: files.waiting,
    files_claimed: files.claimed,
    rows,
    rows_estimated: rows !== null && waiting > 0,
    why: rows === null ? whyUnknown(topics) : null,
    // a message does not say when it came without being read
    seconds: waiting === 0 && inTopics !== 0 ? null : seconds,
  }
}

function whyUnknown(topics: readonly TopicLag[] | undefined): string {
  if (topics === undefined) return 'the database does not answer'
  const silent = topics.find(({ why }) => why !== undefined)
  if (silent !== undefined) return `topic ${silent.topic}: ${silent.why}`
  return 'no file has been read yet that would tell how many rows one has'
}

/** What the API says of pipelines, batches and dead letters: plain JSON, with the words of the ledger. */
import { eventTimes } from '../engine/watermark.ts'
import { reasons } from '../operators/validate.ts'
import { columnsRead, type Plan } from '../plan/plan.ts'
import { faultOf } from '../sources/letter-fault.ts'
import type { TopicLag } from '../sources/topic/lag.ts'
import type { DeadLetter, LedgerLine, PipelineStatus } from '../store/store.ts'
import { lagView, timeView } from './behind.ts'
import type { BoardLine } from './board.ts'
import type { Numbers, StoredPosition } from './numbers.ts'

/** What is read for all pipelines at once. */
export interface Moment {
  now: number
  stored: PipelineStatus | undefined
  /** Undefined when it was never started, or the database does not answer. */
  numbers: Numbers | undefined
  /** Undefined when the database does not answer. */
  topics: readonly TopicLag[] | undefined
  /** Whether this process works on it. */
  works: boolean
  /** Seconds since the oldest file that waits came. */
  fileSeconds: number
}

export function pipelineView(name: string, line: BoardLine, moment: Moment) {
  const { progress, files, system } = line
  const { stored, numbers, topics, now } = moment
  return {
    pipeline: name,
    says: system.says,
    state: moment.works ? stateView(progress.state) : stateElsewhere(stored),
    advice: (moment.works ? adviceFor(line) : adviceElsewhere(stored)) ?? null,
    owner: stored?.owner ?? null,
    lent_by: stored?.lentBy ?? null,
    doing: stored?.doing ?? null,
    epoch: stored?.epoch ?? null,
    batch: stored?.batch ?? null,
    last_committed_at: stored?.lastCommittedAt ?? null,
    books:
      stored === undefined
        ? null
        : {
            rows_in: stored.rowsIn,
            written: stored.written,
            filtered: stored.filtered,
            duplicates: stored.duplicates,
            late: stored.late,
            dead: stored.dead,
          },
    rows_per_second: numbers?.rowsPerSecond ?? 0,
    lag: lagView({ files, topics, rowsPerFile: numbers?.rowsPerFile ?? null, seconds: moment.fileSeconds }),
    files_waiting: files.waiting,
    files_claimed: files.claimed,
    files_left_alone: files.leftAlone,
    event_time: eventTimes(line.plan).size > 0,
    ...timeView(numbers?.watermark ?? null, now),
    state_rows: numbers?.stateRows ?? 0,
    files_quarantined: stored?.filesQuarantined ?? null,
    dead_letters_open: stored?.deadLettersOpen ?? null,
    late_rows: numbers?.lateRows ?? 0,
    retries: progress.retries,
    archiver: progress.archiver ?? null,
    outbox_rows: stored?.outboxRows ?? null,
    publisher: progress.publisher ?? null,
  }
}

export type PipelineView = ReturnType<typeof pipelineView>

function stateView(state: BoardLine['progress']['state']) {
  if (state.is !== 'retrying') return state
  const { nextInMs, ...rest } = state
  return { ...rest, next_in_ms: nextInMs }
}

// The lease says whether another process works on it.
function stateElsewhere(stored: PipelineStatus | undefined) {
  if (stored?.alive === true) return { is: 'running' as const }
  return { is: 'stopped' as const, why: 'no process works on it' }
}

function adviceElsewhere(stored: PipelineStatus | undefined): string | undefined {
  return stored?.alive === true ? undefined : 'Start a worker: `millrace work`. What is committed stays.'
}

// What a person can do about it; nothing when nothing is wrong.
function adviceFor({ progress, files, quarantine }: BoardLine): string | undefined {
  const { state } = progress
  switch (state.is) {
    case 'retrying':
      return 'Nothing is lost, and it goes on by itself when the cause is gone. `millrace doctor` says more.'
    case 'stopped':
      return 'Mend the cause and start again. What is committed stays.'
    case 'standing by':
      return `${state.owner} runs it. This process takes over when that one ends.`
    case 'lending':
      return `It is lent to ${state.to} for a bounded run, and comes back by itself.`
    case 'starting':
    case 'running':
      break
  }
  if (progress.archiver?.is === 'paused') return `Archiving is paused, and goes on by itself: ${progress.archiver.why}`
  if (progress.publisher?.is === 'held up')
    return `${progress.publisher.waiting} messages wait to be published, and nothing of them is lost: ${progress.publisher.why}`
  if (progress.filesQuarantined > 0)
    return `${progress.filesQuarantined} files could not be read${quarantine === undefined ? '' : `: see ${quarantine}`}.`
  if (files.leftAlone.length > 0) return `These are left alone: ${files.leftAlone.slice(0, 3).join(', ')}.`
  return undefined
}

/** How far each partition is committed, and how far it is behind where it ends now. */
export function positionViews(positions: readonly StoredPosition[], topics: readonly TopicLag[]) {
  const watermarkOf = (source: string, partition: string): Date | null =>
    positions.find((each) => each.source === source && each.partition === partition)?.watermark ?? null
  const ofTopics = topics.flatMap(({ source, topic, partitions }) =>
    partitions.map(({ partition, committed, end, rows }) => ({
      source,
      topic,
      partition,
      position: committed ?? null,
      end: end ?? null,
      lag_rows: rows ?? null,
      watermark: watermarkOf(source, partition),
    })),
  )
  const others = positions.filter(({ source }) => topics.every((topic) => topic.source !== source))
  return [
    ...ofTopics,
    ...others.map(({ source, partition, position, watermark }) => ({
      source,
      topic: null,
      partition,
      position,
      end: null,
      lag_rows: null,
      watermark,
    })),
  ]
}

export function batchView(line: LedgerLine) {
  return {
    batch: line.batch,
    epoch: line.epoch,
    kind: line.kind,
    started_at: line.startedAt,
    committed_at: line.committedAt,
    rows_in: line.rowsIn,
    written: line.written,
    filtered: line.filtered,
    duplicates: line.duplicates,
    late: line.late,
    dead: line.dead,
    files_quarantined: line.filesQuarantined,
    rows_out: line.rowsOut,
    step_rows: line.stepRows,
    phases_ms: line.phasesMs,
    ranges: line.ranges,
  }
}

/** A row may be many megabytes long; a list shows its beginning. */
const rawShown = 2000

export function letterView(letter: DeadLetter, plan: Plan | undefined, { whole }: { whole: boolean }) {
  const source = plan?.sources[letter.source] ?? Object.values(plan?.sources ?? {})[0]
  const fault = faultOf(letter, source)
  return {
    id: letter.id,
    pipeline: letter.pipeline,
    batch: letter.batch,
    source: letter.source,
    place: letter.place,
    line: letter.line,
    stage: letter.stage,
    code: letter.code,
    column: letter.columnName,
    message: letter.message,
    meaning: meaningOf(letter.code, plan),
    raw: whole ? letter.raw : letter.raw.slice(0, rawShown),
    raw_cut: !whole && letter.raw.length > rawShown,
    fields: letter.fields,
    fault: fault === undefined ? null : { start: fault.start, end: fault.end },
    columns: source === undefined ? [] : columnsRead(source).map(({ name }) => name),
    rejected_at: letter.rejectedAt,
    settled: letter.settled,
    settled_at: letter.settledAt,
    settled_by: letter.settledBy,
  }
}

// Codes of a pipeline's own checks are explained by it.
function meaningOf(code: string, plan: Plan | undefined): string | null {
  const own = plan?.steps
    .flatMap((step) => (step.op === 'validate' ? step.checks : []))
    .find((check) => check.code === code)
  if (own !== undefined) return own.message
  return Object.hasOwn(reasons, code) ? reasons[code as keyof typeof reasons] : null
}

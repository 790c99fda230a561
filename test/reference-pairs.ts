/** What pairs are of all events at once, slow and obvious: the events of a key one after another. */
import { createHash } from 'node:crypto'
import type { Column } from '../src/plan/columns.ts'
import type { PairsStep } from '../src/plan/plan.ts'
import { evaluate, type OutputRow, type Value } from './reference.ts'
import { decimalText } from './reference-aggregates.ts'
import { endOfTime, microseconds, timestampText } from './reference-times.ts'

export interface PairEvent {
  key: Value[]
  timeUs: bigint
  opens: boolean
  values: OutputRow
  id: string
  batch: number
}

export type Judged =
  | { is: 'filtered' }
  | { is: 'late'; lateByMs: number }
  | { is: 'duplicates' }
  | { is: 'written'; event: PairEvent }

/** What becomes of a row, given the events that were taken before it, in arrival order. */
export function judgePair(
  step: PairsStep,
  columns: Column[],
  values: OutputRow,
  timeUs: bigint,
  { batch, before, taken }: { batch: number; before: number | undefined; taken: PairEvent[] },
): Judged {
  const opens = evaluate(step.open, values) === true
  if (!opens && (step.close === undefined || evaluate(step.close, values) !== true)) return { is: 'filtered' }
  const key = step.by.map((name) => values[name] ?? null)
  const own = taken.filter((event) => JSON.stringify(event.key) === JSON.stringify(key))
  const earlier = own.filter((event) => event.batch < batch).map((event) => event.timeUs)
  const newest = earlier.length === 0 ? undefined : earlier.reduce((a, b) => (a > b ? a : b))
  // after the end of time everything is late
  const border =
    before === endOfTime
      ? BigInt(endOfTime) * 1000n
      : newest === undefined
        ? undefined
        : newest - BigInt(step.latenessMs) * 1000n
  if (border !== undefined && timeUs < border) return { is: 'late', lateByMs: Number((border - timeUs) / 1000n) }
  const id = hashOf(columns, values, timeUs, opens)
  if (own.some((event) => event.id === id)) return { is: 'duplicates' }
  return { is: 'written', event: { key, timeUs, opens, values, id, batch } }
}

function hashOf(columns: Column[], values: OutputRow, timeUs: bigint, opens: boolean): string {
  const texts = columns.map(({ name, type }) => {
    const value = values[name] ?? null
    if (value === null) return null
    return type.is === 'timestamp' ? String(microseconds(String(value))) : String(value)
  })
  return createHash('md5')
    .update(JSON.stringify([...texts, String(timeUs), String(opens)]))
    .digest('hex')
}

interface Open {
  event: PairEvent
  next: PairEvent | undefined
  outcome: string
}

/** The rows of all events, when the watermark is there. */
export function pairsOf(step: PairsStep, events: PairEvent[], watermark: number | undefined): OutputRow[] {
  return [...Map.groupBy(events, ({ key }) => JSON.stringify(key)).values()].flatMap((own) =>
    pairsOfKey(step, own, watermark),
  )
}

function pairsOfKey(step: PairsStep, events: PairEvent[], watermark: number | undefined): OutputRow[] {
  const gapUs = step.maxGapMs === undefined ? undefined : BigInt(step.maxGapMs) * 1000n
  const near = (from: PairEvent, to: PairEvent): boolean => gapUs === undefined || to.timeUs - from.timeUs <= gapUs
  const opens: Open[] = []
  const orphans: PairEvent[] = []
  let waiting: Open | undefined
  for (const event of inOrder(step, events)) {
    const live = waiting !== undefined && near(waiting.event, event)
    if (waiting !== undefined && !live) waiting.outcome = 'expired'
    if (live && waiting !== undefined && (!event.opens || step.close === undefined)) {
      waiting.outcome = 'paired'
      waiting.next = event
    } else if (live && waiting !== undefined) waiting.outcome = 'replaced'
    else if (!event.opens) orphans.push(event)
    waiting = event.opens ? { event, next: undefined, outcome: 'open' } : undefined
    if (waiting !== undefined) opens.push(waiting)
  }
  if (waiting !== undefined && gapUs !== undefined && watermark !== undefined) {
    if (BigInt(watermark) * 1000n > waiting.event.timeUs + gapUs) waiting.outcome = 'expired'
  }
  const carried = step.columns.slice(0, -5).map(({ name }) => name)
  const made = ({ values, id }: PairEvent): OutputRow => ({
    ...Object.fromEntries(carried.map((name) => [name, values[name] ?? null])),
    pair_id: id,
  })
  return [
    ...opens.map(({ event, next, outcome }) => ({
      ...made(event),
      opened_at: timestampText(event.timeUs),
      closed_at: next === undefined ? null : timestampText(next.timeUs),
      outcome,
      seconds: next === undefined ? null : decimalText(next.timeUs - event.timeUs, 6),
    })),
    ...orphans.map((event) => ({
      ...made(event),
      opened_at: null,
      closed_at: timestampText(event.timeUs),
      outcome: 'orphan',
      seconds: null,
    })),
  ]
}

// By time; at one instant a close when an open waits, otherwise an open, each kind by its hashes.
function inOrder(step: PairsStep, events: PairEvent[]): PairEvent[] {
  const gapUs = step.maxGapMs === undefined ? undefined : BigInt(step.maxGapMs) * 1000n
  const left = events.toSorted((a, b) =>
    a.timeUs === b.timeUs ? (a.id < b.id ? -1 : 1) : a.timeUs < b.timeUs ? -1 : 1,
  )
  const ordered: PairEvent[] = []
  while (left.length > 0) {
    const now = left[0]?.timeUs
    const last = ordered.at(-1)
    const waits = last?.opens === true && now !== undefined && (gapUs === undefined || now - last.timeUs <= gapUs)
    const at = left.filter(({ timeUs }) => timeUs === now)
    const next = at.find(({ opens }) => opens !== waits) ?? at[0]
    if (next === undefined) break
    ordered.push(next)
    left.splice(left.indexOf(next), 1)
  }
  return ordered
}

/** The events that must be kept: those that one may still come before, and the last one before them; and what is due. */
export function keptOf(step: PairsStep, events: PairEvent[], watermark: number | undefined): string[] {
  if (watermark === endOfTime) return []
  const rows = pairsOf(step, events, watermark)
  return [...Map.groupBy(events, ({ key }) => JSON.stringify(key)).entries()].flatMap(([key, own]) => {
    const ordered = inOrder(step, own)
    const newest = ordered.at(-1)?.timeUs ?? 0n
    const border = newest - BigInt(step.latenessMs) * 1000n
    const first = ordered.findIndex(({ timeUs }) => timeUs >= border)
    return ordered.slice(Math.max(0, first - 1)).map(({ id, timeUs, opens }) => {
      const waits = opens && rows.some((row) => row['pair_id'] === id && row['outcome'] === 'open')
      const due = waits && step.maxGapMs !== undefined ? timeUs + BigInt(step.maxGapMs) * 1000n : null
      return `${step.id} ${JSON.stringify(JSON.parse(key).map(String))} ${id} ${due}`
    })
  })
}

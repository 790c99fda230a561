/** What a pipeline would have against events that are to be appended to a topic: they are judged as a batch would be, and go nowhere. */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { deadLettersSql, failuresOf } from '../operators/validate.ts'
import type { Plan } from '../plan/plan.ts'
import { RecordStage } from '../sources/topic/record-stage.ts'
import { SpareBuffers } from '../sources/topic/spare-buffers.ts'
import { blankRecord, type Values } from '../sources/topic/topic.ts'
import type { Store } from '../store/store.ts'
import { stageBatch } from './batch.ts'
import { type Duck, spoolFolder } from './duckdb.ts'

export interface TriedEvent {
  /** Its place among the events, from 0. */
  index: number
  code: string
  column: string | null
  message: string
}

export interface Trial {
  plan: Plan
  /** The source's id in the plan. */
  source: string
  store: Store
  duck: Duck
  dataDirectory: string
}

/** The first of those that would become dead letters. */
export async function tryEvents(
  { plan, source: id, store, duck, dataDirectory }: Trial,
  { bytes, spans }: Values,
  atMost: number,
): Promise<TriedEvent[]> {
  const source = plan.sources[id]
  if (source?.is !== 'topic') return []
  // not among the pipeline's own: a worker that starts clears what it finds there
  const apart = `trial-${process.pid}-${randomBytes(4).toString('hex')}`
  const spool = join(spoolFolder(dataDirectory), apart)
  await mkdir(spool, { recursive: true })
  using session = await duck.connect()
  try {
    const limits = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
    const stage = new RecordStage({
      id,
      source,
      spool,
      sql: session,
      name: apart,
      limits,
      until: undefined,
      buffers: new SpareBuffers(),
      unread: [],
      onReleased: () => {},
    })
    const at = blankRecord(0)
    for (let n = 0; n < spans.length; n += 2) {
      at.offset = n / 2
      at.valueFrom = spans[n] ?? 0
      at.valueTo = spans[n + 1] ?? 0
      stage.take(bytes, at)
      if (stage.full) await stage.flush()
    }
    const range = await stage.finish([], {})
    // rows that pass validation would land, be filtered or be duplicates, as others before and after them decide
    const judged = { ...plan, steps: plan.steps.filter(({ op }) => op === 'validate') }
    const batch = await stageBatch(
      { plan: judged, store, session, spool, apart, filters: new Map() },
      1,
      range,
      new Date(),
    )
    try {
      // its text is of no use here, but the place for it must be there
      await range.fetchRaw?.(session, batch.names.staged, 'select 0 where false')
      const letters = range.malformedSelect === undefined ? [] : [range.malformedSelect]
      for (const step of batch.plan.steps) {
        if (step.op !== 'validate' || failuresOf(step).length === 0) continue
        letters.push(deadLettersSql(step, batch.names.staged, { source: id, ...range.where }))
      }
      if (letters.length === 0) return []
      const found = await session.rows<{ number: number; code: string; column_name: string | null; message: string }>(
        `
        select split_part(place, '/', 3)::integer as number, code, column_name, message
        from (${letters.map((letter) => `select place, code, column_name, message from (\n${letter}\n)`).join('\nunion all\n')})
        order by number
        limit ${atMost}`,
      )
      return found.map(({ number, code, column_name: column, message }) => ({
        index: number,
        code,
        column,
        message,
      }))
    } finally {
      await batch.release()
    }
  } finally {
    await rm(spool, { recursive: true, force: true })
  }
}

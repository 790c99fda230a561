/** The messages of a batch on their way into the outbox, which is written in its transaction. */
import type { Plan, TopicStep } from '../plan/plan.ts'
import { messagesSql } from '../sinks/topic.ts'
import { outboxColumns } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'
import { type Printed, printRows } from './row-file.ts'

export interface PrintedMessages {
  step: string
  rows: Printed
}

export function topicSinks(plan: Plan): TopicStep[] {
  return plan.steps.filter((step): step is TopicStep => step.op === 'topic')
}

/** Prints these rows of a batch, a select, as messages. */
export async function printMessages(
  session: DuckSession,
  spool: string,
  step: TopicStep,
  batch: { rows: string; name: string },
): Promise<PrintedMessages> {
  const rows = await printRows(session, spool, `${batch.name}-${step.id}-messages`, {
    select: messagesSql(step, batch.rows),
    columns: [...outboxColumns],
    quoted: ['step', 'topic', 'key', 'value'],
  })
  return { step: step.id, rows }
}

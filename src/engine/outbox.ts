/** The messages of a batch on their way into the outbox, which is written in its transaction. */
import type { Plan, TopicStep } from '../plan/plan.ts'
import { messagesSql } from '../sinks/topic.ts'
import { outboxColumns } from '../store/store.ts'
import type { Asked, Printed } from './printing.ts'

export interface PrintedMessages {
  step: string
  rows: Printed
}

export function topicSinks(plan: Plan): TopicStep[] {
  return plan.steps.filter((step): step is TopicStep => step.op === 'topic')
}

/** How these rows of a batch, a select, are printed as messages. */
export function messagesToPrint(step: TopicStep, batch: { rows: string; name: string }): Asked {
  return {
    name: `${batch.name}-${step.id}-messages`,
    select: messagesSql(step, batch.rows),
    columns: outboxColumns,
    quoted: ['step', 'topic', 'key', 'value'],
  }
}

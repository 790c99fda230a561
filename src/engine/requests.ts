/** The tasks that a batch asks for, printed for Postgres: they are asked for in its transaction. */
import { requestsSql } from '../sinks/enqueue.ts'
import { requestColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import type { Printed } from './printing.ts'

export function printRequests({ plan }: BatchTools, batch: Batch): Printed | undefined {
  const selects = plan.steps.flatMap((step) =>
    step.op === 'enqueue' ? [requestsSql(step, `select * from ${batch.names.into(step)}`)] : [],
  )
  if (selects.length === 0) return undefined
  return batch.printing.add({
    name: `${batch.place.name}-requests`,
    select: selects.join('\nunion\n'),
    columns: requestColumns,
    quoted: requestColumns,
  })
}

/** The tasks that a batch asks for, printed for Postgres: they are asked for in its transaction. */
import { requestsSql } from '../sinks/enqueue.ts'
import { requestColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { type Printed, printRows } from './row-file.ts'

export async function printRequests({ plan, session, spool }: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const selects = plan.steps.flatMap((step) =>
    step.op === 'enqueue' ? [requestsSql(step, `select * from ${batch.names.into(step)}`)] : [],
  )
  if (selects.length === 0) return undefined
  const printed = await printRows(session, spool, `${batch.place.name}-requests`, {
    select: selects.join('\nunion\n'),
    columns: [...requestColumns],
    quoted: requestColumns,
  })
  if (printed.rows > 0) return printed
  await printed.release()
  return undefined
}

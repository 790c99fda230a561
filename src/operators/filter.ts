import { printDuckdb } from '../functions/print.ts'
import type { FilterStep } from '../plan/plan.ts'
import type { Operator } from './operator.ts'

export const filter: Operator<FilterStep> = {
  says: () => 'keeps the rows for which a condition is true',
  state: 'none',
  verdict: 'filtered',
  relations(step, { input, out, inputColumns, few }) {
    return [
      { name: out, as: 'view', select: `select *\nfrom ${input}\nwhere ${printDuckdb(step.where, inputColumns, few)}` },
    ]
  },
}

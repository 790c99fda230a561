import { printDuckdb } from '../functions/print.ts'
import { identifier } from '../plan/identifier.ts'
import type { SelectStep } from '../plan/plan.ts'
import type { Operator } from './operator.ts'

export const select: Operator<SelectStep> = {
  says: (step) => `computes ${Object.keys(step.select).join(', ')}`,
  state: 'none',
  verdict: undefined,
  relations(step, { input, out, inputColumns, timed, changing, few }) {
    const columns = Object.entries(step.select).map(
      ([name, expression]) => `  ${printDuckdb(expression, inputColumns, few)} as ${identifier(name)}`,
    )
    return [
      {
        name: out,
        as: 'view',
        select: `select\n  _row,${timed ? ' _time,' : ''}${changing ? ' _change,' : ''}\n${columns.join(',\n')}\nfrom ${input}`,
      },
    ]
  },
}

import { explain as explainPlan, explanationText } from '../engine/explain.ts'
import { planOf } from '../engine/system-run.ts'
import { typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/type-of.ts'
import { checkPlan } from '../plan/check.ts'
import { readConfig, systemNamed } from './open.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const explain: Verb = {
  says: 'Shows the plan of a pipeline: its steps, the columns between them, and the SQL each becomes.',
  usage: '<pipeline> [--json]',
  options: { ...jsonOption },
  examples: ['millrace explain shop-events', 'millrace explain shop-events --json'],
  async run({ words: [name, ...more], options, out }) {
    const system = await systemNamed(name)
    noWords(more)
    const plan = planOf(system, readConfig().config)
    checkPlan(plan, { typeOfExpression, typeOfAggregate })
    const explanation = explainPlan(plan)
    out(options['json'] === true ? JSON.stringify(explanation) : explanationText(explanation))
    return 0
  },
}

import { explain as explainPlan, explanationText } from '../engine/explain.ts'
import { planOf } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import { typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/type-of.ts'
import { checkPlan } from '../plan/check.ts'
import { explainSpark, sparkExplanationText } from '../spark/explain.ts'
import { readConfig, systemNamed } from './open.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const explain: Verb = {
  says: 'Shows the plan of a pipeline: its steps, the columns between them, and the SQL each becomes.',
  usage: '<pipeline> [--engine duckdb|spark] [--json]',
  options: {
    engine: { type: 'string', says: 'what it becomes there: duckdb (here) or spark', takes: ['duckdb', 'spark'] },
    ...jsonOption,
  },
  examples: ['millrace explain shop-events', 'millrace explain flyers --engine spark'],
  async run({ words: [name, ...more], options, out }) {
    const system = await systemNamed(name)
    noWords(more)
    const plan = planOf(system, readConfig().config)
    checkPlan(plan, { typeOfExpression, typeOfAggregate })
    const engine = options['engine'] ?? 'duckdb'
    if (engine === 'spark') {
      const explanation = explainSpark(plan, system.notOnSpark)
      out(options['json'] === true ? JSON.stringify(explanation) : sparkExplanationText(explanation))
      return 0
    }
    if (engine !== 'duckdb')
      throw new MillraceError('WRONG_USAGE', { at: '--engine', message: `"${engine}" is not duckdb or spark` })
    const explanation = explainPlan(plan)
    out(options['json'] === true ? JSON.stringify(explanation) : explanationText(explanation))
    return 0
  },
}

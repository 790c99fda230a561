import { boolean, decimal, integer, type Kind, text } from '../plan/columns.ts'
import { define } from './define.ts'
import { alike, commonOf } from './duckdb-type.ts'
import { sparkAlike } from './spark-type.ts'
import type { KindOfConstant, Operand, Value } from './value.ts'

/** A value of the row on one side lets the other be a constant; two constants say their kind themselves. */
interface When {
  <K extends Kind>(condition: Operand<'boolean'>, then: Value<K>, otherwise?: Operand<NoInfer<K>>): Value<K>
  <K extends Kind>(condition: Operand<'boolean'>, then: Operand<NoInfer<K>>, otherwise: Value<K>): Value<K>
  <T extends string | number | boolean>(condition: Operand<'boolean'>, then: T, otherwise?: T): Value<KindOfConstant<T>>
}

export const when = define<When>({
  name: 'when',
  says: 'The second value where the condition is true; where it is false or null the third, or null when there is no third.',
  args: ['boolean', 'alike', 'alike'],
  optional: 1,
  result: ([, ...types]) => commonOf(types),
  nullable: ([, then = true, otherwise = true]) => then || otherwise,
  duckdb: ([condition, ...values], [, ...types]) => {
    const [then, otherwise] = alike(values, types)
    return `(case when ${condition} then ${then}${otherwise === undefined ? '' : ` else ${otherwise}`} end)`
  },
  spark: ([condition, ...values], [, ...types]) => {
    const [then, otherwise] = sparkAlike(values, types)
    return `(case when ${condition} then ${then}${otherwise === undefined ? '' : ` else ${otherwise}`} end)`
  },
  examples: [
    { in: [true, 'yes', 'no'], out: 'yes' },
    { in: [false, 'yes', 'no'], out: 'no' },
    { in: [null, 'yes', 'no'], out: 'no', types: [boolean, text, text] },
    { in: [false, 'yes'], out: null },
    { in: [true, 1, '0.5'], out: '1.0', types: [boolean, integer, decimal(2, 1)] },
  ],
})

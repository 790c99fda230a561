/** The function registry: what expressions can call. Written out, so that a newcomer finds every name here. */
import { dividedBy, minus, plus, times } from './arithmetic.ts'
import { and, not, or } from './boolean.ts'
import { atLeast, atMost, differsFrom, equals, isIn, lessThan, moreThan } from './comparison.ts'
import type { DefinedFunction } from './define.ts'
import { isNull, isPresent } from './null.ts'

export const functions = {
  equals,
  differsFrom,
  lessThan,
  atMost,
  moreThan,
  atLeast,
  isIn,
  and,
  or,
  not,
  plus,
  minus,
  times,
  dividedBy,
  isNull,
  isPresent,
} as const satisfies Record<string, DefinedFunction>

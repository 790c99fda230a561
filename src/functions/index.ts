/** The function registry: what expressions can call. Written out, so that a newcomer finds every name here. */

import { dividedBy, minus, modulo, plus, times, wholeDivision } from './arithmetic.ts'
import { and, not, or } from './boolean.ts'
import {
  atLeast,
  atMost,
  between,
  differsFrom,
  equals,
  greatest,
  isIn,
  least,
  lessThan,
  moreThan,
} from './comparison.ts'
import { when } from './conditional.ts'
import { toBoolean, toDecimal, toDouble, toInteger, toText, toTimestamp } from './conversion.ts'
import type { DefinedFunction } from './define.ts'
import { jsonBoolean, jsonDouble, jsonHas, jsonInteger, jsonText } from './json.ts'
import { countIn, keepOnly, listContains, listDistinct, listGet, listJoin, listLength, listOf } from './list.ts'
import { coalesce, isNull, isPresent, nullIf } from './null.ts'
import { absolute, ceiling, floor, negate, round } from './rounding.ts'
import {
  concat,
  contains,
  endsWith,
  lower,
  replaceText,
  split,
  startsWith,
  substring,
  textLength,
  trim,
  upper,
  wordsOf,
} from './text.ts'
import {
  dayOf,
  fromEpochMilliseconds,
  hourOf,
  millisecondsBetween,
  monthOf,
  plusMilliseconds,
  secondsBetween,
  toEpochMilliseconds,
  truncateTo,
  weekdayOf,
  yearOf,
} from './time.ts'

export const functions = {
  // comparison
  equals,
  differsFrom,
  lessThan,
  atMost,
  moreThan,
  atLeast,
  between,
  isIn,
  least,
  greatest,
  // boolean
  and,
  or,
  not,
  // arithmetic
  plus,
  minus,
  times,
  dividedBy,
  wholeDivision,
  modulo,
  // rounding
  negate,
  absolute,
  round,
  floor,
  ceiling,
  // text
  lower,
  upper,
  trim,
  textLength,
  concat,
  startsWith,
  endsWith,
  contains,
  replaceText,
  substring,
  split,
  wordsOf,
  // time
  truncateTo,
  secondsBetween,
  millisecondsBetween,
  plusMilliseconds,
  yearOf,
  monthOf,
  dayOf,
  hourOf,
  weekdayOf,
  fromEpochMilliseconds,
  toEpochMilliseconds,
  // conversion
  toText,
  toInteger,
  toDecimal,
  toDouble,
  toBoolean,
  toTimestamp,
  // null
  isNull,
  isPresent,
  coalesce,
  nullIf,
  // conditional
  when,
  // json
  jsonText,
  jsonInteger,
  jsonDouble,
  jsonBoolean,
  jsonHas,
  // list
  listOf,
  listLength,
  listContains,
  listGet,
  listJoin,
  listDistinct,
  countIn,
  keepOnly,
} as const satisfies Record<string, DefinedFunction>

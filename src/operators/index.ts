import { dedup } from './dedup.ts'
import { filter } from './filter.ts'
import { select } from './select.ts'
import { validate } from './validate.ts'

/** What this build can do between a source and a sink. */
export const operators = { validate, select, filter, dedup } as const

/** The faults of a plan, and where they are. */
import { MillraceError, nearest } from '../errors.ts'
import type { Column } from './columns.ts'

export function unknownColumn(at: string, name: string, columns: readonly Column[]): MillraceError {
  const names = columns.map((column) => column.name)
  return fault(at, 'UNKNOWN_COLUMN', `there is no column "${name}"`, suggestion(name, names, 'the columns here are'))
}

export function suggestion(name: string, names: string[], among: string): string {
  const meant = nearest(name, names)
  return `${meant === undefined ? '' : `did you mean "${meant}"? `}${among} ${names.join(', ')}`
}

export function fault(
  at: string,
  code: 'INVALID_PLAN' | 'UNKNOWN_STEP' | 'UNKNOWN_COLUMN' | 'WRONG_TYPE',
  message: string,
  hint?: string,
): MillraceError {
  return new MillraceError(code, { at, message, ...(hint === undefined ? {} : { hint }) })
}

/** What is wrong with an expression says where it stands. */
export function located<T>(at: string, look: () => T): T {
  try {
    return look()
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    throw new MillraceError(error.code, { message: error.message, at, ...(error.hint ? { hint: error.hint } : {}) })
  }
}

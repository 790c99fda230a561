/** What a test is told that asks for something that cannot be. */
import { type ErrorCode, MillraceError, nearest } from '../errors.ts'

export function wrong(message: string, hint?: string): MillraceError {
  return new MillraceError('INVALID_SETTING', { message, ...(hint === undefined ? {} : { hint }) })
}

/** Something is called by a name that nothing has. */
export function unknown(code: ErrorCode, message: string, wanted: string, known: Iterable<string>): MillraceError {
  const names = [...known]
  const meant = nearest(wanted, names)
  return new MillraceError(code, {
    message,
    hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}there ${names.length === 0 ? 'is none' : `are: ${names.join(', ')}`}`,
  })
}

/** One thing that doctor has looked at. */
import { type FaultCode, faults } from './faults.ts'

export interface Finding {
  name: string
  is: 'ok' | 'warning' | 'fault'
  says: string
  /** Which fault it is, when it is not ok. */
  code?: FaultCode
  /** How to mend it, when it is not ok. */
  mend?: string
}

export function ok(name: string, says: string): Finding {
  return { name, is: 'ok', says }
}

/** `mend` where more can be said than what mends every fault of this code. */
export function found(code: FaultCode, says: string, mend: string = faults[code].mend): Finding {
  const { name, is } = faults[code]
  return { name, is, code, says, mend }
}

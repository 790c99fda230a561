/** One thing that doctor has looked at. */
export interface Finding {
  name: string
  is: 'ok' | 'warning' | 'fault'
  says: string
  /** How to mend it, when it is not ok. */
  mend?: string
}

export function ok(name: string, says: string): Finding {
  return { name, is: 'ok', says }
}

export function warning(name: string, says: string, mend: string): Finding {
  return { name, is: 'warning', says, mend }
}

export function fault(name: string, says: string, mend: string): Finding {
  return { name, is: 'fault', says, mend }
}

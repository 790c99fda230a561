/** The settings of flyers. */
import type { SettingSpec, SettingValues } from 'millrace'

export const settings: Record<string, SettingSpec> = {
  FLYERS_LATENESS: {
    type: 'duration',
    default: '24 hours',
    says: 'an event is late when it is older than the newest of its reader and flyer by more than this',
  },
  FLYERS_MAX_GAP: {
    type: 'duration',
    default: '24 hours',
    says: 'an open that is not closed within this has expired',
  },
  FLYERS_COMPAT: {
    type: 'switch',
    default: 'off',
    says: 'every event and the next of its reader and flyer, whatever they are, is a session, in whole seconds',
  },
  FLYERS_SESSIONS_KEEP: {
    type: 'duration',
    default: '30 days',
    says: 'a session goes from its table so long after it came; the averages and the report keep it',
  },
  FLYERS_SESSIONS: {
    type: 'text',
    default: 'files',
    choices: ['files', 'table'],
    option: 'sessions',
    says: 'where `run flyers --final` puts sessions: into Parquet files of the run, or into their table',
  },
}

export interface Rules {
  lateness: number
  maxGap: number
  compat: boolean
  sessions: 'files' | 'table'
}

/** In milliseconds. */
export function rulesOf(values: SettingValues): Rules {
  return {
    lateness: Number(values['FLYERS_LATENESS']),
    maxGap: Number(values['FLYERS_MAX_GAP']),
    compat: values['FLYERS_COMPAT'] === true,
    sessions: values['FLYERS_SESSIONS'] === 'table' ? 'table' : 'files',
  }
}

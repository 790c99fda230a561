import { MillraceError, type SettingSpec, type SettingValues } from 'millrace'

export const settings: Record<string, SettingSpec> = {
  SPARK_EVENT_LOG_DIR: {
    type: 'folder',
    default: 'spark-events',
    says: 'the folder in which Spark writes its event logs (spark.eventLog.dir): read there, and left as it is',
  },
  SPARK_EVENT_LOG_EVERY: {
    type: 'duration',
    default: '2 s',
    says: 'how often the folder is looked at for logs that are new or have grown',
  },
  SPARK_CORE_HOUR_PRICE: {
    type: 'number',
    default: '0.05',
    says: 'what a core costs for an hour, for the cost of an application',
  },
  SPARK_FINDINGS: {
    type: 'text',
    default: '',
    says: 'thresholds of findings that are others than usual, such as skew=5,gc=0.2',
  },
}

/** What a finding needs at least, and whether it is found above or below. */
export const usualThresholds = {
  /** Tasks of complete stages whose end is in no line. */
  lost_events: 1,
  /** Of the tasks that ended, the share that did well: found below it. */
  success_rate: 0.99,
  /** Time of tasks that failed or were killed, as a share of all. */
  retry_waste: 0.05,
  /** The longest task of a stage, in medians. */
  skew: 3,
  /** Time of tasks on a host, in what the same stages take at the median. */
  slow_host: 1.5,
  /** Bytes spilled to disk, as a share of what was read. */
  spill: 0.1,
  /** Time in garbage collection, as a share of that in which tasks ran. */
  gc: 0.1,
  /** Of the time that cores were there, the share in which no task ran on them. */
  idle_cores: 0.5,
  /** Of the time of an application, the share in which no job ran. */
  driver_gap: 0.3,
  /** What a job took, in what it would at best. */
  critical_path: 2,
  /** Tasks that take less at the median, in milliseconds, are too small. */
  task_sizing: 50,
  /** Failures of one kind. */
  root_cause: 1,
} as const

export type Thresholds = Record<keyof typeof usualThresholds, number>

export function thresholdsOf(given: SettingValues): Thresholds {
  const thresholds: Thresholds = { ...usualThresholds }
  for (const part of String(given['SPARK_FINDINGS'] ?? '').split(',')) {
    if (part.trim() === '') continue
    const [name = '', value = ''] = part.split('=').map((each) => each.trim())
    if (!isFinding(name) || value === '' || !(Number(value) >= 0)) {
      throw new MillraceError('WRONG_USAGE', {
        at: 'SPARK_FINDINGS',
        message: `"${part.trim()}" is no threshold`,
        hint: `write name=number; there is ${Object.keys(usualThresholds).join(', ')}`,
      })
    }
    thresholds[name] = Number(value)
  }
  return thresholds
}

function isFinding(name: string): name is keyof typeof usualThresholds {
  return Object.hasOwn(usualThresholds, name)
}

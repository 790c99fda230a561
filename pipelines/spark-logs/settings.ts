/** The settings of spark-logs. */
import type { SettingSpec } from 'millrace'

export const settings: Record<string, SettingSpec> = {
  RECONCILE_EVERY: {
    type: 'duration',
    default: '2 hours',
    says: 'how often rows of raw_logs are looked for that wait to be computed, beside those that came as events',
  },
}

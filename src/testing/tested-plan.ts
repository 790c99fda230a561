/** The plan of a pipeline as a test runs it. */
import { join, resolve, sep } from 'node:path'
import { loadConfig } from '../config.ts'
import type { Plan } from '../plan/plan.ts'
import type { System } from '../system.ts'
import { unknown } from './mistakes.ts'

/** What `pipeline(...)` has built, its plan, or a whole system. */
export type TestedPipeline = { readonly plan: Plan } | Plan | System

export interface TestOptions {
  /** When the clock begins: 2026-01-01T00:00:00Z when left out. */
  now?: string | Date
  /** How many partitions each topic has: one when left out. */
  partitions?: number
  /** Of a system: its settings, as they would be written in the environment. */
  settings?: Record<string, string>
}

/** Its plan. Folders lie in that of the test, wherever they would lie otherwise. */
export function planOf(pipeline: TestedPipeline, data: string, { settings = {} }: TestOptions): Plan {
  const plan = unplaced(pipeline, data, settings)
  const placed = <Place extends { folder: string }>(place: Place): Place => ({
    ...place,
    folder: inside(data, place.folder),
  })
  return {
    ...plan,
    sources: Object.fromEntries(
      Object.entries(plan.sources).map(([id, source]) => [id, source.is === 'files' ? placed(source) : source]),
    ),
    steps: plan.steps.map((step) => (step.op === 'files' ? placed(step) : step)),
  }
}

function unplaced(pipeline: TestedPipeline, data: string, settings: Record<string, string>): Plan {
  if ('steps' in pipeline) return pipeline
  const { plan } = pipeline
  const specs = 'settings' in pipeline ? pipeline.settings : {}
  for (const name of Object.keys(settings)) {
    if (Object.hasOwn(specs, name)) continue
    throw unknown('INVALID_SETTING', `the pipeline has no setting "${name}"`, name, Object.keys(specs))
  }
  if (typeof plan !== 'function') return plan
  return plan(loadConfig(specs, { ...settings, MILLRACE_DATA: data }, data).settings)
}

/** The place of a folder in that of the test. */
export function inside(data: string, folder: string): string {
  const at = resolve(data, folder)
  return at.startsWith(join(data, sep)) ? at : join(data, at)
}

/**
 * What a shipped system is, and a user's system too: a pipeline with everything that belongs to it. Contracts only;
 * the command line hands systems to the engine, the tasks and the server.
 */
import type { SettingSpec, SettingValues } from './config.ts'
import type { Plan } from './plan/plan.ts'

export type { SettingSpec, SettingValues } from './config.ts'

export interface System {
  name: string
  /** One sentence: what it does, for lists and `--help`. */
  says: string
  /** Environment variables of its own. */
  settings: Record<string, SettingSpec>
  /** The plan, for these settings. Called after the settings are checked. */
  plan(settings: SettingValues): Plan
  /** A folder of numbered SQL files, applied in order before the first row. */
  migrations?: URL
  /** The folder that gets `<batch>.csv` of bad rows and the files that cannot be read, so that a person finds them. */
  quarantine?: (settings: SettingValues) => string
  /** Where files go from `done/` when they are old enough; without it they stay there. */
  archive?: (settings: SettingValues) => Archive | undefined
  generate?: Generator
}

export interface Archive {
  /** Gets a file in `YYYY/MM/DD/`, the day of its arrival in UTC. */
  folder: string
  /** How long a file of a committed batch stays in `done/`, counted from its arrival. */
  afterMs: number
  /** How long it stays in the archive; without it, for ever. */
  keepMs?: number | undefined
  compress?: Compression | undefined
}

export type Compression = 'gzip' | 'zstd'

export interface Generator {
  says: string
  /** The options that mean something to it, beside those every generator has. */
  options?: Record<string, { default: string; says: string }>
  /** Writes sample data by the same road a user's would take, until the signal or the count ends it. */
  run(request: GenerateRequest): Promise<GenerateSummary>
}

export interface GenerateRequest {
  settings: SettingValues
  eventsPerSecond: number | undefined
  durationSeconds: number | undefined
  count: number | undefined
  /** Drawn by the caller when the user gave none; the same seed gives the same bytes. */
  seed: number
  /** With a seed from the user, times begin at 2026-01-01T00:00:00Z; otherwise they are now. */
  startTime: Date
  /** Whether times follow the clock (no seed given) or the seed alone. */
  live: boolean
  badPercent: number
  duplicatePercent: number
  /** A file to write instead of the usual road. */
  to: string | undefined
  options: Record<string, string>
  signal: AbortSignal
  /** One line of the generator's metrics log per file made. */
  onFile(file: GeneratedFile): void | Promise<void>
}

export interface GeneratedFile {
  path: string
  events: number
  bad: number
  duplicates: number
  bytes: number
}

export interface GenerateSummary {
  events: number
  bad: number
  duplicates: number
  files: number
}

/** What the API answers, as far as the page reads it. */

export type State =
  | { is: 'starting' }
  | { is: 'running'; owner?: string }
  | { is: 'standing by'; owner?: string }
  | { is: 'lending'; to?: string }
  | { is: 'retrying'; why?: string; tries?: number; next_in_ms?: number }
  | { is: 'stopped'; why?: string }

export interface Books {
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
}

export interface Lag {
  files_waiting: number
  files_claimed: number
  rows: number | null
  rows_estimated: boolean
  /** Why the rows are not known. */
  why: string | null
  /** Of the oldest file. */
  seconds: number | null
}

export interface Pipeline {
  pipeline: string
  says: string
  state: State
  advice: string | null
  owner: string | null
  lent_by: string | null
  /** What the owner says that it does. */
  doing: string | null
  epoch: number | null
  batch: number | null
  last_committed_at: string | null
  books: Books | null
  rows_per_second: number
  lag: Lag
  /** Whether a source says when its events happened. */
  event_time: boolean
  watermark: string | null
  /** Nothing will follow: no date says that. */
  watermark_closed: boolean
  state_rows: number
  files_quarantined: number | null
  dead_letters_open: number | null
  late_rows: number
  /** Messages that wait to be published, and how that goes; null where nothing is published, or nobody works on it. */
  outbox_rows: number | null
  publisher: { is: 'working' | 'held up'; waiting: number; why?: string } | null
  retries: number
  archiver: { is: string } | null
}

export interface Column {
  name: string
  type: string
  nullable: boolean
}

export interface Source {
  id: string
  says: string
  columns: Column[]
}

export interface Step {
  id: string
  op: string
  from: string[]
  says: string
  columns: Column[]
  reasons: { code: string; column: string | null; message: string }[]
  duckdb: string[]
  store: string[]
  /** Rows of the last minute. */
  rows_in: number | null
  rows_out: number | null
}

export interface Position {
  source: string
  /** Null of files. */
  topic: string | null
  partition: string
  position: number | null
  end: number | null
  lag_rows: number | null
  watermark: string | null
}

export interface LateRow {
  id: number
  batch: number
  step: string
  place: string
  event_time: string
  window_start: string | null
  late_by_ms: number
  raw: string
  raw_cut: boolean
  arrived_at: string
}

export interface PipelineDetails extends Pipeline {
  plan: unknown
  hash: string
  source: Source[]
  steps: Step[]
  state_bytes: number
  positions: Position[]
  folders: string[]
  quarantine: string | null
}

export interface Batch extends Books {
  batch: number
  epoch: number
  kind: string
  started_at: string
  committed_at: string
  files_quarantined: number
  rows_out: Record<string, { inserted: number; updated: number; deleted: number }>
  phases_ms: Record<string, number>
  ranges: unknown
}

export interface SourceFile {
  id: number | string
  path: string
  size: number
  state: string
  rows_done: number
  bytes_done: number
  batch: number | null
  code: string | null
  message: string | null
  arrived_at: string | null
}

export interface Letter {
  id: number
  pipeline: string
  batch: number
  source: string
  place: string
  line: number | null
  stage: string
  code: string
  column: string | null
  message: string
  raw: string
  raw_cut: boolean
  fields: Record<string, string | null> | null
  fault: { start: number; end: number } | null
  rejected_at: string
  settled: null | 'replayed' | 'discarded'
  settled_at: string | null
  settled_by: string | null
  meaning: string | null
  columns: string[]
}

export interface LetterCount {
  pipeline: string
  code: string
  letters: number
  replayable: number
}

/** Which dead letters are meant: all that is given must hold. */
export interface Where {
  ids?: number[]
  pipeline?: string
  code?: string
  file?: string
  column?: string
  batch?: number
  since?: string
  until?: string
}

export interface DryRun {
  dry_run: true
  counts: { would: string; code: string | null; letters: number }[]
  first: { id: number; would: string; code: string | null; why: string | null }[]
  /** Sentences about those that cannot be replayed as they are. */
  left: string[]
}

export interface Replay {
  /** Pipelines whose workers do it. */
  left_to_workers?: string[]
  replayed: (Books & { pipeline: string; batches: number; dead_again: { code: string; letters: number }[] })[]
  left: string[]
}

export interface Task {
  id: string
  pipeline: string
  task: string
  key: string
  state: 'waiting' | 'running' | 'failed, tried again' | 'dead'
  failures: number
  asked_at: string
  why: string | null
}

export interface Tasks {
  tasks: Task[]
  counts: { pipeline: string; task: string; waiting: number; running: number; retrying: number; dead: number }[]
  /** Why none is run now. */
  fault: string | null
}

export interface Chart {
  title: string
  says?: string
  route: string
  /** Where its files come from, if not from there. */
  takes?: string
  draws: 'line' | 'bars' | 'funnel' | 'table'
  x: string
  y: string[]
  by?: string
  unit?: string
  limit?: { value: number; label: string }
  marks?: { route: string; x: string; label: string; says: string }
  /** What the reader may say, by parameter of the route, and what it is called. */
  asks?: Record<string, string>
  leads?: Lead
  refresh_seconds: number
}

/** Where the values of a column lead: to a view, with values of the row by parameter. */
export interface Lead {
  column: string
  to: string
  with: Record<string, string>
}

/** A page of one thing. */
export interface SystemView {
  name: string
  title: string
  says: string
  asks: Record<string, string>
  charts: Chart[]
}

export interface System {
  name: string
  says: string
  charts: Chart[]
  views: SystemView[]
}

export interface Results {
  columns: { name: string; type: string }[]
  rows: Record<string, unknown>[]
}

export interface LandedRows {
  pipeline: string
  step: string
  table: string
  columns: string[]
  rows: (string | null)[][]
}

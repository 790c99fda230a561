/**
 * The one error class and its table of codes. An error says what happened, where, and what to do next.
 * Bad rows are not errors: they are data, and go to the dead letters (their codes are in `operators/validate.ts`).
 */
export const errorCodes = {
  // the plan
  INVALID_PLAN: 'the plan breaks a rule of its format',
  UNKNOWN_COLUMN: 'an expression or a step names a column that is not there',
  UNKNOWN_FUNCTION: 'an expression calls a function that is not in the registry',
  UNKNOWN_STEP: 'a step reads from a step or source that is not there',
  WRONG_TYPE: 'an expression or a setting has another type than the place it stands in',
  PLAN_CHANGED: 'the plan differs from the one this pipeline was started with',
  UNKNOWN_SOURCE: 'the pipeline has no source of that name',
  UNKNOWN_SINK: 'the pipeline writes no table, into no folder or to no topic of that name',
  UNKNOWN_PIPELINE: 'there is no pipeline of that name',
  BAD_MODULE: 'the file of a pipeline cannot be imported, or exports none',
  NO_COLUMNS: 'a sample does not show what its columns are',
  NOT_SUPPORTED: 'this build cannot do what was asked',
  // settings and the command line
  INVALID_SETTING: 'an environment variable or option has a value that cannot be used',
  WRONG_USAGE: 'the command line is not understood',
  // the store
  DATABASE_UNREACHABLE: 'Postgres does not answer',
  DATABASE_REFUSED: 'Postgres refused a statement that should have worked',
  DATABASE_TOO_OLD: 'the Postgres server is older than 15',
  DATABASE_ENCODING: 'the database is not encoded in UTF8',
  EMBEDDED_POSTGRES: 'the embedded Postgres could not be started or joined',
  TABLE_DIFFERS: 'a target table does not have the columns or keys the plan needs',
  MIGRATION_FAILED: 'a migration could not be applied',
  LEASE_LOST: 'another worker owns the pipeline now',
  LEASE_HELD: 'another worker owns the pipeline',
  COMMIT_UNKNOWN: 'the connection broke before the outcome of a commit was known',
  DEAD_LETTER_SETTLED: 'a dead letter has been replayed or discarded already',
  DEAD_LETTER_EDITED: 'a dead letter was edited while it was replayed: it is replayed again, with what it says now',
  NO_SUCH_DEAD_LETTER: 'there is no dead letter of that number',
  // sources and files
  FILE_CHANGED: 'a file changed after it had been read, or while it was being read',
  FILE_UNREADABLE: 'a file cannot be opened or read',
  NO_INPUT: 'an input names no file',
  DISK_FULL: 'a disk has no room left: it is waited for',
  // topics
  POSITION_LOST: 'a topic no longer has the records that come next',
  LOG_TRUNCATED: 'a topic ends before the stored position',
  TOPIC_LOCKED: 'another process writes this local topic',
  TOPIC_DAMAGED: 'a topic holds bytes that cannot be what was written',
  BROKER_UNREACHABLE: 'no broker of Kafka answers',
  BROKER_REFUSED: 'Kafka refused a request that should have worked',
  RECORD_TOO_LARGE: 'a record is larger than the topic takes',
  NOT_PUBLISHED: 'messages of committed rows wait for a topic that does not take them',
  // what goes on beside the pipelines
  CACHE_FAILED: 'the cache does not answer: answers are made without it',
  NO_SUCH_TASK: 'there is no such task',
  // Spark
  SPARK_UNREACHABLE: 'no Spark Connect server answers',
  SPARK_REFUSED: 'the Spark Connect server does not let us in',
  SPARK_FAILED: 'Spark refused a statement, or failed at it',
  SPARK_SESSION_LOST: 'the Spark server was started anew, or has forgotten the session',
  // the engine
  DUCKDB_FAILED: 'DuckDB refused a statement',
  NEEDS_MORE_MEMORY: 'a batch takes more memory than DuckDB may use',
  LATE_ROW: 'a row is late, and its step was told to stop at one',
  RUN_UNFINISHED: 'a bounded run was interrupted, and has to go on before another begins',
  FAILPOINT: 'a fail point that a test has set was reached',
  PORT_TAKEN: 'the port is in use',
} as const

export type ErrorCode = keyof typeof errorCodes

export interface ErrorDetails {
  message: string
  /** Where: a step, a file and line, a variable, a table. */
  at?: string
  /** What to do next. */
  hint?: string
  /** Whether trying the same thing again can help. */
  retry?: boolean
  cause?: unknown
}

/** Every error Millrace throws on purpose. `String(error)` is what a person should read. */
export class MillraceError extends Error {
  readonly code: ErrorCode
  readonly at: string | undefined
  readonly hint: string | undefined
  readonly retry: boolean

  constructor(code: ErrorCode, details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'MillraceError'
    this.code = code
    this.at = details.at
    this.hint = details.hint
    this.retry = details.retry ?? false
  }

  override toString(): string {
    const where = this.at === undefined ? '' : ` (${this.at})`
    const next = this.hint === undefined ? '' : `\n  ${this.hint}`
    return `${this.code}: ${this.message}${where}${next}`
  }
}

/** The message of whatever was thrown, for logs and tables. */
export function messageOf(error: unknown): string {
  if (error instanceof MillraceError) return error.toString()
  return error instanceof Error ? error.message : String(error)
}

/** A disk has no room for what was to be written at a place. */
export function diskFull(place: string, cause: unknown): MillraceError {
  return new MillraceError('DISK_FULL', {
    at: place,
    message: 'the disk is full',
    hint: 'make room on it (df -h and df -i show what is short): nothing is lost, and it goes on by itself',
    retry: true,
    cause,
  })
}

/** What was thrown, as DISK_FULL where that is the reason; `place` is for those that do not know theirs. */
export function asDiskFull(error: unknown, place: string): unknown {
  if (error instanceof MillraceError || !(error instanceof Error) || !('code' in error)) return error
  if (error.code !== 'ENOSPC' && error.code !== 'EDQUOT') return error
  // a file is moved or copied to the one, and opened or made at the other
  const [known] = ['dest', 'path'].map((field) => Reflect.get(error, field)).filter((each) => typeof each === 'string')
  return diskFull(known ?? place, error)
}

/** The name among `known` that a person most likely meant, or nothing when none is near. */
export function nearest(wanted: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  // something of it must be there
  let bestDistance = Math.min(wanted.length, Math.max(2, Math.floor(wanted.length / 3)) + 1)
  for (const name of known) {
    const distance = editDistance(wanted.toLowerCase(), name.toLowerCase())
    if (distance < bestDistance) {
      best = name
      bestDistance = distance
    }
  }
  return best
}

// Levenshtein distance, one row at a time.
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(swap, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}

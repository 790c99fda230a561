/** What a source promises the engine: ranges of rows, staged where DuckDB can read them. */
import type { CsvRows, FileProgress, LetterRevision, Position } from '../store/store.ts'

export interface Limits {
  rows: number
  bytes: number
  /** The next row, alone, takes more memory than there is: it becomes a dead letter, or its file is quarantined. */
  setAside?: true
  /** Few rows may be handed over as texts: a file takes its time, however small. */
  texts?: boolean
}

/** The next range of a source: well-formed rows as texts, and what was malformed. */
export interface Range {
  /** The source's id in the plan; undefined of a range without rows, which only moves event time on. */
  source: string | undefined
  /** Rows that could be cut out. */
  rows: number
  malformed: number
  /** Rows that were filtered where they were read, as a filter of the plan says. */
  filtered?: number
  /** Bytes of input. */
  bytes: number
  /** Some rows are so long that they should not be sorted. */
  long?: boolean
  /** Its rows, where they were asked for as texts, and are few. */
  texts?: CsvRows
  /**
   * SQL giving `_row`, the source's columns as text, and what `where` speaks of, for the batch with this number. `texts`:
   * the table in which those lie.
   */
  select(batch: number, texts?: string): string
  /** SQL giving dead letters (`deadLetterColumns`) for what was malformed; undefined when nothing was. */
  malformedSelect: string | undefined
  where: Where
  /**
   * Makes `where.rawText` true of these staged rows, given as SQL for their `_row`; without it, it is true of all. `sql` is
   * what the rows were staged with: nobody else may see them.
   */
  fetchRaw?(sql: Sql, staged: string, rows: string): Promise<void>
  files: FileProgress[]
  filesQuarantined: number
  positions: Position[]
  /** For the ledger: what was read, in words a person understands. */
  ranges: unknown
  /** Milliseconds that getting it took, by phase. */
  phases: Record<string, number>
  /** When the oldest of it arrived. */
  arrivedAt: Date | undefined
  /** Dead letters that a replay settles with it, as they were read. */
  settles: LetterRevision[]
  /** Removes what was staged. */
  release(): Promise<void>
}

/** DuckDB, as far as a source needs it. */
export interface Sql {
  run(sql: string): Promise<unknown>
  /** Rows as plain objects: 64-bit integers are texts. For small results. */
  rows<Row extends Record<string, unknown>>(sql: string): Promise<Row[]>
}

/** Where a staged row came from, as SQL over the staged relation `s`. */
export interface Where {
  join: string
  place: string
  line: string
  /** The partition of the source, which as text is its name; it needs no join. */
  partition: string
  rawText: string
  /** Columns that `s` has not: the join brings them, as columns of `w`. */
  lacks?: readonly string[]
}

/** What partitions are called of a source that Spark reads, and we take up what it has made of it. */
export const sparkPartitions = 'spark/'

/** Nothing was read: a batch of it moves event time on. */
export function emptyRange(): Range {
  return {
    source: undefined,
    rows: 0,
    malformed: 0,
    bytes: 0,
    select: () => 'select 0::bigint as _row where false',
    malformedSelect: undefined,
    where: { join: '', place: 'null', line: 'null', partition: 'null', rawText: 'null' },
    files: [],
    filesQuarantined: 0,
    positions: [],
    ranges: [],
    phases: {},
    arrivedAt: undefined,
    settles: [],
    release: async () => {},
  }
}

/** How many rows, or other things to read, a partition has that were not handed out. */
export interface Lag {
  partition: string
  rows: number
}

export interface SourceReader extends AsyncDisposable {
  /** The next range, or undefined when nothing is there now. */
  next(limits: Limits): Promise<Range | undefined>
  /** By source, the partitions there are, as far as it has heard. */
  lags(): ReadonlyMap<string, readonly Lag[]>
  /** Bytes of input that are there now and not handed out yet. Absent where a source cannot tell. */
  bytesAhead?(): Promise<number>
  /** Something is there that is still being written: it may be complete soon. */
  readonly unsettled: boolean
  /** Resolves when something may have arrived, at the latest after a second. */
  wait(signal: AbortSignal): Promise<void>
  /** These positions are committed; for those who look at the source from outside. */
  settled?(positions: readonly Position[]): Promise<void>
  /** Forgets what was handed out but not committed; the next range begins where the store says. */
  rewind(): Promise<void>
}

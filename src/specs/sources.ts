/** What a pipeline reads: files or topics, their columns, and when their events took place. */

import { type Duration, milliseconds } from '../duration.ts'
import type { Kind } from '../plan/columns.ts'
import type { EventTime, Source, SourceColumn, UnknownColumns } from '../plan/plan.ts'
import type { ColumnSpec } from './columns.ts'
import { type FormatOptions, formatOf } from './file-formats.ts'

/** Column names with the kinds the compiler checks. */
export type Columns = Record<string, Kind>

export interface SourceSpec<C extends Columns> {
  readonly source: Source
  readonly eventTime?: EventTime
  readonly columns: { readonly [Name in keyof C]: ColumnSpec<C[Name]> }
}

/** When a row's event took place, and how far rows may come out of their order. */
export interface EventTimeOptions<C extends Columns> {
  /** A timestamp that every row has. */
  column: keyof C & string
  /** The watermark stays this far behind the latest event time of a partition: none when left out. */
  outOfOrder?: Duration
  /** An event time further ahead of the clock than this moves no watermark; its row counts. 5 minutes when left out. */
  futureSkew?: Duration
  /** A partition that is read to its end holds the others back for so long: 30 seconds when left out. */
  idleAfter?: Duration
  /** `follow the clock` closes the last windows of a stream that has ended. Otherwise they wait for more. */
  whenAllIdle?: 'wait' | 'follow the clock'
}

interface TimedOptions<C extends Columns> {
  columns: { [Name in keyof C]: ColumnSpec<C[Name]> }
  // the columns say what C is, whatever an event time that is shared with other sources knows of them
  eventTime?: EventTimeOptions<NoInfer<C>>
}

export interface FilesOptions<C extends Columns> extends TimedOptions<C> {
  /**
   * Columns of a file, or keys of a JSON line, that are not named here. `refuse`: such a file is quarantined, such a line
   * is a dead letter. `count`: they are left out, and counted in the ledger. `keepAs`: they are kept together in this
   * column, which is `json().optional()`. When left out, JSON lines count them and the others refuse them.
   */
  unknownColumns?: 'refuse' | 'count' | { keepAs: keyof C & string }
}

/** Files in a watched folder (relative to MILLRACE_DATA, or absolute), each read once, when it is complete. */
export function files<C extends Columns>(folder: string, options: FormatOptions & FilesOptions<C>): SourceSpec<C> {
  const { unknownColumns = options.format === 'json lines' ? 'count' : 'refuse' } = options
  const columns = columnsOfSpecs(options.columns)
  return {
    columns: options.columns,
    ...eventTimeOf(options),
    source: { is: 'files', folder, format: formatOf(options), ...unknownOf(unknownColumns), columns },
  }
}

export interface TopicOptions<C extends Columns> extends TimedOptions<C> {
  /** Keys of a message that are not named here, as those of a JSON line. They are counted when left out. */
  unknownColumns?: 'refuse' | 'count' | { keepAs: keyof C & string }
  /** Where to go on when retention has overtaken the pipeline, or the topic was made anew. `fail` when left out. */
  whenLost?: 'earliest' | 'latest' | 'fail'
}

/**
 * Messages of a topic, one JSON object each: a Kafka topic when KAFKA_BOOTSTRAP_SERVERS is set, else an append-only log
 * under MILLRACE_DATA. A new pipeline begins at the earliest message.
 */
export function topic<C extends Columns>(name: string, options: TopicOptions<C>): SourceSpec<C> {
  const { unknownColumns = 'count', whenLost = 'fail' } = options
  const columns = columnsOfSpecs(options.columns)
  return {
    columns: options.columns,
    ...eventTimeOf(options),
    source: { is: 'topic', topic: name, ...unknownOf(unknownColumns), whenLost, columns },
  }
}

function unknownOf(unknown: 'refuse' | 'count' | { keepAs: string }): { unknown?: UnknownColumns } {
  if (unknown === 'refuse') return {}
  return { unknown: unknown === 'count' ? { is: 'count' } : { is: 'keep', as: unknown.keepAs } }
}

function eventTimeOf<C extends Columns>({ eventTime }: TimedOptions<C>): { eventTime?: EventTime } {
  if (eventTime === undefined) return {}
  const { column, outOfOrder = 0, futureSkew = '5 minutes', idleAfter = '30 seconds', whenAllIdle = 'wait' } = eventTime
  return {
    eventTime: {
      column,
      outOfOrderMs: milliseconds(outOfOrder),
      futureSkewMs: milliseconds(futureSkew),
      idleAfterMs: milliseconds(idleAfter),
      whenAllIdle,
    },
  }
}

function columnsOfSpecs(specs: Record<string, ColumnSpec>): SourceColumn[] {
  return Object.entries(specs).map(([name, { type, nullable, origin }]) => ({
    name,
    type,
    nullable,
    ...(origin === undefined ? {} : { origin }),
  }))
}

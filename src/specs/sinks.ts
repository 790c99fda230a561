/** Where a pipeline writes: tables, folders of files, topics. */

import type { FileFormat, TableMode } from '../plan/plan.ts'
import { type FormatOptions, formatOf } from './file-formats.ts'

/** A table in Postgres. `Key` are the columns its key needs. */
export interface TableSink<Key extends string> {
  readonly table: string
  readonly mode: TableMode
  readonly whenFinal?: 'files'
  readonly cachedAs?: string
  readonly needs: readonly Key[]
}

/**
 * A table in Postgres, created when it is missing. `oncePer`: the first row of a key wins, over all time, and repeats are
 * counted as duplicates. `key`: a row replaces the one with its key. Neither: every row is added. `whenFinal: 'files'`: of a
 * pipeline that pairs, a bounded run that nothing follows (`run --final`) writes the rows as Parquet files instead, without
 * `pair_id` if that is the key: no row will have to be found again. `cachedAs: 'customer:'`: what routes keep of a row with
 * `cache.through`, under this and the value of its key, is dropped when the row changes.
 */
export function table(name: string): TableSink<never>
export function table<const Key extends string>(name: string, options: TableOptions<Key>): TableSink<Key>
export function table<Key extends string>(name: string, options?: TableOptions<Key>): TableSink<Key> {
  if (options === undefined) return { table: name, mode: { is: 'append' }, needs: [] }
  const named = 'oncePer' in options ? options.oncePer : options.key
  const key = typeof named === 'string' ? [named] : [...named]
  if ('oncePer' in options) return { table: name, mode: { is: 'insert if new', key }, needs: key }
  const whenFinal = options.whenFinal === 'files' ? { whenFinal: options.whenFinal } : {}
  const cachedAs = options.cachedAs === undefined ? {} : { cachedAs: options.cachedAs }
  return { table: name, mode: { is: 'upsert', key }, ...whenFinal, ...cachedAs, needs: key }
}

type TableOptions<Key extends string> =
  | { oncePer: Key | readonly Key[] }
  | { key: Key | readonly Key[]; whenFinal?: 'files' | 'table'; cachedAs?: string }

/** Files in a folder. */
export interface FilesSink {
  readonly folder: string
  readonly format: FileFormat
  readonly landed: boolean
}

/**
 * A folder (relative to MILLRACE_DATA, or absolute) that gets one file a batch, `<day>/<pipeline>-<batch>`, when the batch
 * is committed: never half of one, never one of a batch that was not. `rows: 'landed'`: only those that the table before it
 * took, without repeats of earlier batches.
 */
export function folder(path: string, options: FormatOptions & { rows?: 'all' | 'landed' }): FilesSink {
  return { folder: path, format: formatOf(options), landed: options.rows === 'landed' }
}

/** Messages of a topic. `Key` are the columns its key needs. */
export interface TopicSink<Key extends string> {
  readonly topic: string
  readonly key: readonly Key[]
  readonly landed: boolean
}

/**
 * A topic that gets each row as a message, a JSON object of its columns, once the batch is committed: of Kafka where
 * `KAFKA_BOOTSTRAP_SERVERS` is set, else a local one. `key`: columns whose text is the key of the message, so that messages
 * of one key keep their order. `rows: 'landed'`: only those that the table before it took. A message may come twice after a
 * crash, and has the same header `millrace-id` then.
 */
export function publish(topic: string, options?: { rows?: 'all' | 'landed' }): TopicSink<never>
export function publish<const Key extends string>(
  topic: string,
  options: { key: Key | readonly Key[]; rows?: 'all' | 'landed' },
): TopicSink<Key>
export function publish<Key extends string>(
  topic: string,
  { key = [], rows = 'all' }: { key?: Key | readonly Key[]; rows?: 'all' | 'landed' } = {},
): TopicSink<Key> {
  return { topic, key: typeof key === 'string' ? [key] : [...key], landed: rows === 'landed' }
}

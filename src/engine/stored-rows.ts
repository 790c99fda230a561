/** Rows that the store has told, in DuckDB: few of them as they are, more out of a file. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { sqlText } from '../plan/identifier.ts'
import { readFields } from '../store/csv-rows.ts'
import type { CsvRows } from '../store/store.ts'
import type { Batch } from './batch.ts'

/** Makes a table of texts of them, in the place of a batch. */
export async function tellStored({ place, told }: Batch, table: string, rows: CsvRows): Promise<void> {
  const { csv, columns } = rows
  if ('text' in csv) return await place.fill(table, columns, await readFields(rows))
  told.push(csv.path)
  await place.make({ name: table, as: 'table', select: `select * from ${await readFileSql(csv.path, columns)}` })
}

const shortLine = 1024 * 1024

/** A file that the store has written, as a relation of texts. */
export async function readFileSql(path: string, columns: readonly string[]): Promise<string> {
  const types = columns.map((column) => `${sqlText(column)}: 'varchar'`)
  const { size } = await stat(path)
  // no line is longer than its file, and a small file is read by the same words each time
  const longest = size <= shortLine ? shortLine : Math.max(shortLine, await longestLine(path))
  return `read_csv(
  ${sqlText(path)},
  auto_detect = false, header = false, parallel = false, hive_partitioning = false, delim = ',', quote = '"', escape = '"',
  new_line = '\\n', columns = {${types.join(', ')}}, nullstr = '', allow_quoted_nulls = false,
  max_line_size = ${longest}, buffer_size = ${Math.max(longest, 4_000_000)}
)`
}

// DuckDB makes room for it at once. Of what may be long, keys and items, all are JSON, which has no line ends in it.
async function longestLine(path: string): Promise<number> {
  let longest = 0
  let length = 0
  // as: without an encoding a stream gives bytes
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      longest = Math.max(longest, length + end + 1 - start)
      length = 0
      start = end + 1
    }
    length += chunk.length - start
  }
  return Math.max(longest, length, 1)
}

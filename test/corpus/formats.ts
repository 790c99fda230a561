/** How the files of the corpus are read: the same columns in every format, and the good file that stands beside each case. */
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  boolean,
  decimal,
  double,
  files,
  integer,
  json,
  lineNumber,
  oneOf,
  pipeline,
  sourceFile,
  table,
  text,
  timestamp,
} from '../../src/pipeline.ts'
import type { Plan } from '../../src/plan/plan.ts'
import type { Outcome } from './corpus.ts'

/** The folders of `files/`: `bare` has no header, `kept` keeps what the columns below do not name, `strict` refuses it. */
export const formats = ['csv', 'csv-bare', 'csv-kept', 'json', 'json-kept', 'json-strict', 'parquet'] as const

export type Format = (typeof formats)[number]

export const tableName = 'corpus'

// `id` and `n` must be there; every other column may be absent, in a row and in a file
const columns = {
  id: text().notEmpty(),
  n: integer(),
  price: decimal(12, 2).atLeast(0).optional(),
  x: double().optional(),
  at: timestamp().optional(),
  ok: boolean().optional(),
  kind: oneOf('view', 'buy').optional(),
  note: text().optional(),
  doc: json().optional(),
}

export function planOf(format: Format, folder: string): Plan {
  // where a row was read is a part of it, so that each file has keys of its own
  const all = { ...columns, file: sourceFile(), line: lineNumber() }
  const kept = { ...all, rest: json().optional() }
  const once = table(tableName, { oncePer: ['file', 'id'] })
  const unknownColumns = { keepAs: 'rest' } as const
  switch (format) {
    case 'csv':
      return pipeline('corpus')
        .from(files(folder, { format: 'csv', columns: all }))
        .into(once).plan
    case 'csv-bare':
      return pipeline('corpus')
        .from(files(folder, { format: 'csv', header: false, delimiter: ';', quote: "'", columns: all }))
        .into(once).plan
    case 'csv-kept':
      return pipeline('corpus')
        .from(files(folder, { format: 'csv', columns: kept, unknownColumns }))
        .into(once).plan
    case 'json':
      return pipeline('corpus')
        .from(files(folder, { format: 'json lines', columns: all }))
        .into(once).plan
    case 'json-strict':
      return pipeline('corpus')
        .from(files(folder, { format: 'json lines', columns: all, unknownColumns: 'refuse' }))
        .into(once).plan
    case 'json-kept':
      return pipeline('corpus')
        .from(files(folder, { format: 'json lines', columns: kept, unknownColumns }))
        .into(once).plan
    case 'parquet':
      return pipeline('corpus')
        .from(files(folder, { format: 'parquet', columns: all }))
        .into(once).plan
  }
}

/** The good file of a format, of two rows. */
export async function goodFile(format: Format, path: string): Promise<void> {
  switch (format) {
    case 'csv':
    case 'csv-kept':
      return await writeFile(path, 'id,n\ngood,1\nbetter,2\n')
    case 'csv-bare':
      return await writeFile(path, 'good;1;;;;;;;\nbetter;2;;;;;;;\n')
    case 'json':
    case 'json-kept':
    case 'json-strict':
      return await writeFile(path, '{"id":"good","n":1}\n{"id":"better","n":2}\n')
    case 'parquet':
      return await copyFile(join(import.meta.dirname, 'files', 'parquet', 'good.parquet'), path)
  }
}

export function goodOutcome(format: Format): Outcome {
  const first = format === 'csv' || format === 'csv-kept' ? 2 : 1
  return {
    rows: [
      { line: first, id: 'good', n: '1' },
      { line: first + 1, id: 'better', n: '2' },
    ],
  }
}

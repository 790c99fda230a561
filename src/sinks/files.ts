/** Rows on their way into files: how DuckDB writes them, and what the files are called. */
import { identifier, sqlText } from '../plan/identifier.ts'
import type { FileFormat, FilesStep } from '../plan/plan.ts'
import { jsonValueSql } from './json.ts'

/** Writes these rows, which have the step's columns: in arrival order, or as they come when that says nothing. */
export function writeFileSql(step: FilesStep, rows: string, path: string, ordered: boolean): string {
  const columns = step.columns.map((column) => {
    const name = identifier(column.name)
    return step.format.is === 'json lines' ? `  ${jsonValueSql(column)} as ${name}` : `  ${name}`
  })
  return `copy (
select
${columns.join(',\n')}
from (
${rows}
)${ordered ? '\norder by _row' : ''}
) to ${sqlText(path)} (${formatSql(step.format)})`
}

const isoTimes = `timestampformat '%Y-%m-%dT%H:%M:%S.%fZ'`

function formatSql(format: FileFormat): string {
  switch (format.is) {
    case 'csv': {
      const { delimiter, quote, header = true } = format
      return `format csv, header ${header}, delimiter ${sqlText(delimiter)}, quote ${sqlText(quote)}, escape ${sqlText(quote)}, ${isoTimes}`
    }
    case 'json lines':
      return 'format json'
    case 'parquet':
      // zstd takes twice the time for a third less
      return 'format parquet, compression snappy'
  }
}

const extensions = { csv: 'csv', 'json lines': 'jsonl', parquet: 'parquet' } as const

/** `2026-01-31/orders-12.parquet`: the day of the commit, the pipeline, the batch. */
export function fileName(pipeline: string, step: FilesStep, batch: number, committedAt: Date): string {
  return `${committedAt.toISOString().slice(0, 10)}/${pipeline}-${batch}.${extensions[step.format.is]}`
}

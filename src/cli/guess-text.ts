/** A pipeline's file, written from guesses, each marked with what it stands on. */
import type { FileFormat } from '../plan/plan.ts'
import type { Guess, Guesses } from './guess.ts'
import type { Sample } from './sample.ts'
import { counted, printable } from './text.ts'

export interface PipelineFile {
  pipeline: string
  table: string
  /** The sample's name, for whoever reads the file. */
  from: string
}

export function pipelineText({ pipeline, table, from }: PipelineFile, sample: Sample, guesses: Guesses): string {
  const { columns, key } = guesses
  const named = new Set(columns.map((column) => /^\w+/.exec(specText(column, key))?.[0] ?? 'text'))
  const imports = ['files', 'pipeline', 'table', ...named].sort()
  const sink =
    key === undefined
      ? ['  // guess: no column is unique in the sample, so every row is added', `  .into(table(${literal(table)}))`]
      : [
          `  // guess: ${key} is unique in the sample; the first row of one wins, and repeats are counted`,
          `  .into(table(${literal(table)}, { oncePer: ${literal(key)} }))`,
        ]
  return `${[
    `// Made by \`millrace init\` from ${readText(from, sample)}. Every line marked "guess" is one:`,
    '// mend what is wrong before the first run, since what is stored belongs to the columns it was stored with.',
    ...(sample.fault === undefined
      ? []
      : [`// ${counted(sample.malformed, 'row')} could not be read, first ${printable(sample.fault)}`]),
    ...sample.leftOut.map((why) => `// left out, and counted in the ledger: ${printable(why)}`),
    `import { ${imports.join(', ')} } from 'millrace'`,
    '',
    `export default pipeline(${literal(pipeline)})`,
    '  .from(',
    `    // work and start read what is dropped into this folder under MILLRACE_DATA; run reads what it is given`,
    `    files(${literal(pipeline)}, {`,
    ...formatLines(sample.format).map((line) => `      ${line}`),
    '      columns: {',
    ...columns.map((column) => `        ${column.name}: ${specText(column, key)}, // guess: ${column.because}`),
    '      },',
    '    }),',
    '  )',
    ...sink,
  ].join('\n')}\n`
}

function readText(from: string, { rows, whole }: Sample): string {
  return whole
    ? `the ${counted(rows, 'row')} of ${printable(from)}`
    : `the first ${counted(rows, 'row')} of ${printable(from)}`
}

function formatLines(format: FileFormat): string[] {
  switch (format.is) {
    case 'csv':
      return [`format: 'csv',`, ...(format.delimiter === ',' ? [] : [`delimiter: ${literal(format.delimiter)},`])]
    case 'json lines':
    case 'parquet':
      return [`format: '${format.is}',`]
  }
}

/** The column as the builder is called: `decimal(12, 2).optional()`. */
export function specText({ name, type, nullable, oneOf }: Guess, key: string | undefined): string {
  const optional = nullable ? '.optional()' : ''
  switch (type.is) {
    case 'text':
      if (oneOf !== undefined) return `oneOf(${oneOf.map(literal).join(', ')})${optional}`
      return `text()${name === key ? '.notEmpty()' : ''}${optional}`
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})${optional}`
    case 'integer':
    case 'double':
    case 'timestamp':
    case 'boolean':
    case 'json':
      return `${type.is}()${optional}`
    case 'list':
      return `json()${optional}`
  }
}

// In single quotes, as the rest of the file; what would break out of them is escaped.
function literal(text: string): string {
  const inner = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")
  return `'${inner}'`
}

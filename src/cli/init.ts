import { mkdtempDisposable, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, extname, join, relative, resolve } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import { Duck } from '../engine/duckdb.ts'
import { MillraceError } from '../errors.ts'
import type { ColumnType } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import { type Guesses, guessColumns } from './guess.ts'
import { pipelineText, specText } from './guess-text.ts'
import { shownPath } from './own-system.ts'
import { readSample, type Sample } from './sample.ts'
import { counted, printable, tableLines } from './text.ts'
import { jsonOption, noWords, textOption, type Verb } from './verb.ts'

export const init: Verb = {
  says: 'Writes a pipeline of your own from a sample: guesses at its columns, each marked, in a file that runs at once.',
  usage: '--from SAMPLE [--to FILE] [--name NAME] [--force] [--json]',
  options: {
    from: {
      type: 'string',
      says: 'CSV with a header, JSON lines or Parquet, packed or not; of a large file the beginning is read',
      takes: 'a path',
    },
    to: { type: 'string', says: 'the file to write; ./NAME.ts when not given', takes: 'a path' },
    name: { type: 'string', says: "the pipeline's name, and its table's; made of the file's when not given" },
    force: { type: 'boolean', says: 'write over a file that is there' },
    ...jsonOption,
  },
  examples: [
    'millrace init --from orders.csv',
    'millrace init --from sample.jsonl --to pipelines/clicks.ts --name clicks',
  ],
  async run({ words, options, out }) {
    noWords(words)
    const from = textOption(options, 'from')
    if (from === undefined) {
      throw new MillraceError('WRONG_USAGE', { message: 'from which sample?', hint: 'millrace init --from orders.csv' })
    }
    const { name, file } = target(from, textOption(options, 'to'), textOption(options, 'name'))
    const force = options['force'] === true
    if (!force && (await isThere(file))) throw isThereAlready(file)
    const { sample, guesses } = await look(from)
    const table = name.replaceAll('-', '_')
    const text = pipelineText({ pipeline: name, table, from: basename(from) }, sample, guesses)
    await writeFile(file, text, { flag: force ? 'w' : 'wx' })
    const next = commands(from, file, table)
    if (options['json'] === true) out(JSON.stringify(asJson(name, file, sample, guesses, next)))
    else for (const line of lines(from, file, sample, guesses, next)) out(line)
    return 0
  },
}

function target(from: string, to: string | undefined, given: string | undefined): { name: string; file: string } {
  if (to !== undefined && !/\.m?[jt]s$/.test(to)) {
    throw new MillraceError('WRONG_USAGE', { at: '--to', message: `"${to}" is no file of TypeScript or JavaScript` })
  }
  const name = given ?? nameOf(to ?? from)
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) {
    throw new MillraceError('WRONG_USAGE', {
      at: '--name',
      message: name === '' ? `"${to ?? from}" gives the pipeline no name` : `"${name}" cannot be a pipeline's name`,
      hint: 'use lower-case letters, digits and hyphens, beginning with a letter, as in --name orders',
    })
  }
  if (systems.some((system) => system.name === name)) {
    throw new MillraceError('WRONG_USAGE', {
      at: '--name',
      message: `a pipeline called "${name}" ships with Millrace`,
      hint: 'choose another name, as in --name orders',
    })
  }
  return { name, file: to ?? `${name}.ts` }
}

// `Orders 2026-01.csv` is about orders-2026-01.
function nameOf(path: string): string {
  const plain = basename(path, extname(path)).toLowerCase()
  return plain
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[-\d]+|-+$/g, '')
    .slice(0, 63)
}

async function isThere(file: string): Promise<boolean> {
  return await stat(file).then(
    () => true,
    () => false,
  )
}

function isThereAlready(file: string): MillraceError {
  return new MillraceError('WRONG_USAGE', {
    message: `${shownPath(file)} is there already`,
    hint: 'choose another with --to, or write over it with --force',
  })
}

// In a DuckDB of its own: nothing of a running Millrace is touched.
async function look(from: string): Promise<{ sample: Sample; guesses: Guesses }> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-init-'))
  const spool = join(folder.path, 'spool')
  await using duck = await Duck.open({
    folders: [spool],
    temporary: join(folder.path, 'duckdb'),
    memoryLimitMb: 256,
    threads: 2,
  })
  using session = await duck.connect()
  const sample = await readSample(from, session, spool)
  const guesses = await guessColumns(session, sample)
  const bytes = guesses.columns.reduce((sum, { type }) => sum + leastBytes(type), 0)
  if (bytes > pageBytes) {
    throw new MillraceError('NO_COLUMNS', {
      at: from,
      message: `a row of its ${sample.columns.length} columns takes ${bytes} bytes or more, and Postgres has room for ${pageBytes}`,
      hint: 'part the columns among several files',
    })
  }
  return { sample, guesses }
}

// A row lies in one page; only long texts and JSON can lie elsewhere, and leave a pointer.
const pageBytes = 8160

function leastBytes(type: ColumnType): number {
  return ['integer', 'double', 'timestamp'].includes(type.is) ? 8 : 1
}

// ---- what is said --------------------------------------------------------------------------------------------------

interface Commands {
  run: string
  sql: string
  work: string
}

function commands(from: string, file: string, table: string): Commands {
  const path = forShell(shownPath(file))
  return {
    run: `${asTyped()} run ${path} --input ${forShell(from)}`,
    sql: `${asTyped()} sql ${forShell(`select * from ${identifier(table)} limit 10`)}`,
    work: `${asTyped()} work ${path}`,
  }
}

// How this command was called: by npm, by its name, or by its file.
function asTyped(): string {
  if (process.env['npm_lifecycle_event'] === 'millrace') return 'npm run -s millrace --'
  if (process.env['npm_command'] === 'exec') return 'npx millrace'
  const [, called = ''] = process.argv
  return basename(called).startsWith('millrace') ? 'millrace' : `node ${forShell(relative('', called))}`
}

function forShell(word: string): string {
  if (/^[\w./:@%+=-]+$/.test(word)) return word
  return /[`"$\\!]/.test(word) ? `'${word.replaceAll("'", "'\\''")}'` : `"${word}"`
}

function lines(from: string, file: string, sample: Sample, { columns, key }: Guesses, next: Commands): string[] {
  const shown = columns.slice(0, 50)
  const rows = shown.map((column) => [column.name, specText(column, key), column.because])
  const more = columns.length - shown.length
  const extent = sample.whole ? 'the' : 'the first'
  return [
    `wrote ${shownPath(file)}, with ${counted(columns.length, 'column')} guessed from ${extent} ${counted(sample.rows, 'row')} of ${printable(from)}`,
    '',
    ...tableLines([{ title: 'column' }, { title: 'guess' }, { title: 'because' }], rows).map((line) => `  ${line}`),
    ...(more === 0 ? [] : [`  and ${counted(more, 'more')}`]),
    '',
    ...(sample.fault === undefined
      ? []
      : [`${counted(sample.malformed, 'row')} could not be read, first ${printable(sample.fault)}`, '']),
    ...sample.leftOut.map((why) => `left out: ${printable(why)}`),
    ...(canImport(file)
      ? []
      : [
          "millrace is not installed where the file lies: install it there, or move the file into Millrace's own folder",
          '',
        ]),
    'look through the file, then:',
    `  ${next.run}`,
    `  ${next.sql}`,
    `  ${next.work}`,
  ]
}

// The file is no use where `import ... from 'millrace'` finds nothing.
function canImport(file: string): boolean {
  try {
    createRequire(resolve(file)).resolve('millrace')
    return true
  } catch {
    return false
  }
}

function asJson(name: string, file: string, sample: Sample, { columns, key }: Guesses, next: Commands): unknown {
  return {
    pipeline: name,
    file: resolve(file),
    format: sample.format,
    rows: sample.rows,
    rows_not_read: sample.malformed,
    left_out: sample.leftOut,
    whole: sample.whole,
    key: key ?? null,
    columns: columns.map((column) => ({ name: column.name, type: specText(column, key), because: column.because })),
    next,
  }
}

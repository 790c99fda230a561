/** Dead letters read again: the chosen ones, with their edits, take the road of any other row. */
import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { asDiskFull, MillraceError } from '../errors.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { Source, SourceColumn } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import type { Limits, Range, SourceReader } from './source.ts'

export interface LettersReaderOptions {
  source: Source
  /** The chosen letters that are still open, read anew whenever the run goes back to what is stored. */
  open(): Promise<DeadLetter[]>
  /** Values by column that replace those of every letter. */
  set: Record<string, string | null>
  spool: string
}

export async function openLettersReader(options: LettersReaderOptions): Promise<SourceReader> {
  await mkdir(options.spool, { recursive: true })
  let waiting: DeadLetter[] = await options.open()
  let ranges = 0
  return {
    async next(limits: Limits) {
      const letters = waiting.splice(0, limits.rows)
      return letters.length === 0 ? undefined : await stage(options, letters, `letters-${++ranges}`)
    },
    unsettled: false,
    async wait() {},
    async rewind() {
      waiting = await options.open()
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function stage(
  { source, set, spool }: LettersReaderOptions,
  letters: DeadLetter[],
  name: string,
): Promise<Range> {
  const path = join(spool, `${name}.csv`)
  const columns = source.columns.filter(({ origin }) => origin === undefined).map(({ name }) => name)
  await pipeline(Readable.from(rows(letters, columns, set)), createWriteStream(path)).catch((error: unknown) => {
    throw asDiskFull(error, path)
  })
  const types = [
    ['_row', 'bigint'],
    ['_place', 'varchar'],
    ['_line', 'bigint'],
    ['_raw', 'varchar'],
    ...columns.map((column) => [column, 'varchar']),
  ]
  return {
    rows: letters.length,
    malformed: 0,
    bytes: letters.reduce((sum, { raw }) => sum + raw.length, 0),
    select: (batch) => `select *${originsSql(source.columns, batch)}
from read_csv(
  ${sqlText(path)},
  auto_detect = false, header = false, delim = ',', quote = '"', escape = '"', new_line = '\\n',
  columns = {${types.map(([column = '', type = '']) => `${sqlText(column)}: ${sqlText(type)}`).join(', ')}},
  allow_quoted_nulls = false, parallel = false
)`,
    malformedSelect: undefined,
    where: { join: '', place: 's._place', line: 's._line', rawText: 's._raw' },
    files: [],
    filesQuarantined: 0,
    positions: [],
    ranges: letters.slice(0, 100).map(({ id }) => ({ dead_letter: id })),
    phases: {},
    arrivedAt: undefined,
    settles: letters.map(({ id }) => id),
    release: () => rm(path, { force: true }),
  }
}

// What tells where a row came from is told anew.
function originsSql(columns: SourceColumn[], batch: number): string {
  const values = { file: '_place', line: '_line::varchar', batch: `'${batch}'` }
  return columns
    .map(({ name, origin }) => (origin === undefined ? '' : `, ${values[origin]} as ${identifier(name)}`))
    .join('')
}

// Absent is an unquoted empty field; a text is always quoted.
function* rows(letters: DeadLetter[], columns: string[], set: Record<string, string | null>): Generator<string> {
  for (const { id, place, line, raw, fields } of letters) {
    if (fields === null && columns.some((column) => !Object.hasOwn(set, column))) {
      throw new MillraceError('INVALID_SETTING', {
        at: `dead letter ${id}`,
        message: 'its row could not be told into columns, so there are no fields to replay',
        hint: `set each of them: ${columns.map((column) => `--set ${column}=...`).join(' ')}`,
      })
    }
    const values = columns.map((column) => (Object.hasOwn(set, column) ? set[column] : fields?.[column]) ?? null)
    yield `${[String(id), quoted(place), line === null ? '' : String(line), quoted(raw), ...values.map(quoted)].join(',')}\n`
  }
}

function quoted(value: string | null): string {
  return value === null ? '' : `"${value.replaceAll('"', '""')}"`
}

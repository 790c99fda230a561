/** Dead letters read again: the chosen ones, with their edits, take the road of any other row. */
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { asDiskFull } from '../errors.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { columnsRead, type Origin, type Plan, type Source, type SourceColumn } from '../plan/plan.ts'
import { letterPages } from '../store/letter-pages.ts'
import type { DeadLetter, DeadLetterFilter, LetterRevision, Store } from '../store/store.ts'
import { severalReaders } from './several.ts'
import type { Limits, Range, SourceReader } from './source.ts'

/** Dead letters to be replayed. */
export interface ChosenLetters {
  /** It ends at a number: what fails again is a new letter, which may be like those that were chosen. */
  which: DeadLetterFilter & { upTo: number }
  /** Values by column that replace those of every letter. */
  set: Record<string, string | null>
}

export interface LettersReaderOptions extends ChosenLetters {
  /** The source's id in the plan. */
  id: string
  source: Source
  store: Pick<Store, 'deadLetters' | 'countDeadLetters'>
  spool: string
}

/** Reads those of the letters that are open, and can be replayed, when it comes to them. */
export async function openLettersReader(options: LettersReaderOptions): Promise<SourceReader> {
  const { id, source, store, set, spool } = options
  const which = { ...canBeReplayed(options, source), source: id }
  await mkdir(spool, { recursive: true })
  let after = 0
  // readers of other sources have the same folder
  const name = `letters-${randomBytes(4).toString('hex')}`
  let ranges = 0
  return {
    async next(limits: Limits) {
      const letters = letterPages(store, { ...which, after, limit: limits.rows })
      const range = await stage(letters, { id, source, set }, limits, join(spool, `${name}-${++ranges}.csv`))
      after = range.settles.at(-1)?.id ?? after
      if (range.rows > 0) return range
      await range.release()
      return undefined
    },
    lags: () => new Map(),
    async bytesAhead() {
      const counts = await store.countDeadLetters({ ...which, after })
      return counts.reduce((sum, { bytes }) => sum + bytes, 0)
    },
    unsettled: false,
    async wait() {},
    async rewind() {
      after = 0
    },
    async [Symbol.asyncDispose]() {},
  }
}

/** Reads those of all sources of a plan. */
export async function openAllLetters(
  { sources }: Pick<Plan, 'sources'>,
  letters: Omit<LettersReaderOptions, 'id' | 'source'>,
): Promise<SourceReader> {
  const readers = Object.entries(sources).map(([id, source]) => openLettersReader({ ...letters, id, source }))
  return severalReaders(await Promise.all(readers))
}

/** The columns that a letter of the plan may have, as those of one source. */
export function sourceOfLetters({ sources }: Pick<Plan, 'sources'>): Source | undefined {
  const [first, ...others] = Object.values(sources)
  if (first === undefined) return undefined
  const columns = [...first.columns]
  for (const column of others.flatMap((source) => source.columns))
    if (!columns.some(({ name }) => name === column.name)) columns.push(column)
  return { ...first, columns }
}

/** Those of the letters whose row could be told into columns: of the others every column must be given. */
export function canBeReplayed<Which extends DeadLetterFilter>(
  { which, set }: { which: Which; set: ChosenLetters['set'] },
  source: Source,
): Which {
  return columnsRead(source).every(({ name }) => Object.hasOwn(set, name)) ? which : { ...which, replayable: true }
}

// So many rows DuckDB has in memory at once, some of them in several copies: of very long ones a batch takes few.
const vectorRows = 2048
const vectorBytes = 4_000_000

async function stage(
  letters: AsyncIterable<DeadLetter[]>,
  { id, source, set }: { id: string; source: Source; set: ChosenLetters['set'] },
  limits: Limits,
  path: string,
): Promise<Range> {
  const columns = columnsRead(source).map(({ name }) => name)
  const settles: LetterRevision[] = []
  let bytes = 0
  let lineBytes = 0
  let longestLine = 0
  const isLong = (): boolean => longestLine * vectorRows >= vectorBytes
  async function* pages(): AsyncGenerator<string> {
    for await (const page of letters) {
      const lines = page.map((letter) => {
        const line = lineOf(letter, columns, set)
        settles.push({ id: letter.id, revision: letter.revision })
        bytes += Buffer.byteLength(letter.raw)
        lineBytes += Buffer.byteLength(line)
        longestLine = Math.max(longestLine, Buffer.byteLength(line))
        return line
      })
      yield lines.join('')
      if (bytes >= limits.bytes || (lineBytes >= vectorBytes && isLong())) return
    }
  }
  await pipeline(Readable.from(pages()), createWriteStream(path)).catch((error: unknown) => {
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
    source: id,
    rows: settles.length,
    malformed: 0,
    bytes,
    long: isLong(),
    select: (batch) => `select *${originsSql(source.columns, batch)}
from read_csv(
  ${sqlText(path)},
  auto_detect = false, header = false, parallel = false, null_padding = false, hive_partitioning = false,
  delim = ',', quote = '"', escape = '"', new_line = '\\n',
  columns = {${types.map(([column = '', type = '']) => `${sqlText(column)}: ${sqlText(type)}`).join(', ')}},
  allow_quoted_nulls = false,
  max_line_size = ${longestLine}, buffer_size = ${Math.max(longestLine, 4_000_000)}
)`,
    malformedSelect: undefined,
    where: { join: '', place: 's._place', line: 's._line', partition: "'replay'", rawText: 's._raw' },
    files: [],
    filesQuarantined: 0,
    positions: [],
    ranges: settles.slice(0, 100).map(({ id }) => ({ dead_letter: id })),
    phases: {},
    arrivedAt: undefined,
    settles,
    release: () => rm(path, { force: true }),
  }
}

// What tells where a row came from is told anew.
function originsSql(columns: SourceColumn[], batch: number): string {
  const values: Record<Origin, string> = {
    file: '_place',
    line: '_line::varchar',
    batch: `'${batch}'`,
    // topic/partition/offset
    partition: `split_part(_place, '/', -2)`,
    offset: `split_part(_place, '/', -1)`,
    // a letter does not keep them
    timestamp: 'null::varchar',
    key: 'null::varchar',
    headers: `'{}'`,
  }
  return columns
    .map(({ name, origin }) => (origin === undefined ? '' : `, ${values[origin]} as ${identifier(name)}`))
    .join('')
}

// Absent is an unquoted empty field; a text is always quoted.
function lineOf({ id, place, line, raw, fields }: DeadLetter, columns: string[], set: ChosenLetters['set']): string {
  const values = columns.map((column) => (Object.hasOwn(set, column) ? set[column] : fields?.[column]) ?? null)
  return `${[String(id), quoted(place), line === null ? '' : String(line), quoted(raw), ...values.map(quoted)].join(',')}\n`
}

function quoted(value: string | null): string {
  return value === null ? '' : `"${value.replaceAll('"', '""')}"`
}

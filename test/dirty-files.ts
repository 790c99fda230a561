/**
 * Files as bad as files get: of every format and packing, good rows and bad ones mixed, changed byte by byte, dropped into
 * a folder while runs fail and start again, read in batches of any size. What lands, what becomes a dead letter and what
 * is quarantined must be what the plain readers of `reference-files.ts` and `reference.ts` say of each file alone.
 */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { MillraceError } from '../src/errors.ts'
import { arm, failpoints } from '../src/failpoint.ts'
import {
  boolean,
  type ColumnSpec,
  decimal,
  double,
  type FormatOptions,
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
} from '../src/pipeline.ts'
import type { Column } from '../src/plan/columns.ts'
import type { FilesSource, Plan } from '../src/plan/plan.ts'
import type { DeadLetter, Store, StoredFile } from '../src/store/store.ts'
import { dirtyParquet } from './dirty-parquet.ts'
import { csvFile, jsonFile } from './dirty-text.ts'
import { Generated } from './duckdb.ts'
import { type Bench, drain } from './histories.ts'
import { type InputRow, reference } from './reference.ts'
import { type Reading, readText } from './reference-files.ts'

/** Where batches are committed. */
export interface Place {
  openStore(): Promise<Store>
  /** The rows of a table, as texts. */
  rows(table: string, columns: string[]): Promise<Record<string, string | null>[]>
}

/** A file that was dropped, and what must come of it. */
interface Dropped {
  name: string
  path: string
  reading: Reading
}

const columns: Record<string, (made: Generated) => ColumnSpec> = {
  id: () => text().notEmpty(),
  kind: (made) => perhaps(made, oneOf('view', 'buy', 'it\'s "that", one')),
  n: (made) => perhaps(made, integer().atLeast(-5)),
  price: (made) => perhaps(made, decimal(8, 2)),
  ratio: (made) => perhaps(made, double().atMost(1_000_000)),
  at: (made) => perhaps(made, timestamp()),
  ok: (made) => perhaps(made, boolean()),
  extra: (made) => perhaps(made, json()),
  note: (made) => perhaps(made, text().lengthAtMost(12)),
}

function perhaps(made: Generated, spec: ColumnSpec): ColumnSpec {
  return made.whole(0, 1) === 0 ? spec : spec.optional()
}

/** Drops the files of a seed, runs them, and compares; answers how many there were. The error names the seed. */
export async function checkDirtyFiles(bench: Bench, place: Place, seed: number): Promise<number> {
  const made = new Generated(seed)
  const folder = join(bench.folder, `dirty-${seed}`)
  const told: string[] = [`seed ${seed}`]
  try {
    for (const name of ['raw', 'temporary']) await mkdir(join(folder, name), { recursive: true })
    const plan = planFor(made, join(folder, 'raw'), seed)
    told.push(JSON.stringify(sourceOf(plan)))
    // large files in small batches would take minutes
    const large = made.whole(0, 19) === 0
    const limits = () => ({
      rows: large ? made.whole(500, 3000) : made.whole(1, 2 ** made.whole(0, 9)),
      bytes: large ? made.whole(100_000, 2_000_000) : made.whole(1, 2 ** made.whole(0, 15)),
    })
    const run = () => drain(bench, plan, () => place.openStore(), folder, limits())
    const dropped: Dropped[] = []
    const contents: Buffer[] = []
    for (let wave = made.whole(1, 3); wave > 0; wave--) {
      for (let i = made.whole(1, large ? 3 : 8); i > 0; i--) {
        dropped.push(await dropFile(bench, made, plan, folder, dropped.length, { contents, large }))
      }
      for (let i = made.whole(0, 2); i > 0; i--) {
        const setting = `${made.oneOf(failpoints)}@${made.whole(1, 4)}=throw`
        told.push(setting)
        arm(setting)
        await run().catch((error: unknown) => {
          if (!(error instanceof MillraceError && error.code === 'FAILPOINT')) throw error
        })
        arm(undefined)
      }
      await run()
    }
    await compare(plan, dropped, place, folder)
    return dropped.length
  } catch (error) {
    throw new Error(`dirty files went wrong: ${told.join(', ')}\n${error instanceof Error ? error.stack : error}`, {
      cause: error,
    })
  } finally {
    arm(undefined)
    await rm(folder, { recursive: true, force: true })
  }
}

function planFor(made: Generated, folder: string, seed: number): Plan {
  const chosen = Object.entries(columns).filter(() => made.whole(0, 2) > 0)
  const specs = made.shuffled(chosen.length === 0 ? Object.entries(columns).slice(0, 1) : chosen)
  const format = made.oneOf<() => FormatOptions>([
    () => ({ format: 'csv' }),
    () => ({ format: 'csv', delimiter: made.oneOf([';', '\t', '|', ' ']), quote: made.oneOf(['"', "'", '~']) }),
    () => ({ format: 'csv', header: false }),
    () => ({ format: 'json lines' }),
    () => ({ format: 'json lines' }),
    () => ({ format: 'parquet' }),
  ])()
  const unknownColumns = made.oneOf(['refuse', 'count', { keepAs: 'more' }] as const)
  const headless = 'header' in format
  return pipeline(`dirty-${seed}`)
    .from(
      files(folder, {
        ...format,
        ...(headless ? {} : { unknownColumns }),
        columns: {
          ...Object.fromEntries(specs.map(([name, spec]) => [name, spec(made)])),
          ...(headless || unknownColumns === 'refuse' || unknownColumns === 'count' ? {} : { more: json().optional() }),
          file: sourceFile(),
          line: lineNumber(),
        },
      }),
    )
    .into(table(`dirty_${seed}`)).plan
}

function sourceOf(plan: Plan): FilesSource {
  const [source] = Object.values(plan.sources)
  if (source?.is !== 'files') throw new Error('the plan reads no files')
  return source
}

// ---- dropping ------------------------------------------------------------------------------------------------------

async function dropFile(
  bench: Bench,
  made: Generated,
  plan: Plan,
  folder: string,
  number: number,
  { contents, large }: { contents: Buffer[]; large: boolean },
): Promise<Dropped> {
  const source = sourceOf(plan)
  const words = ['a', 'a b', "it's", 'a*', '[x]', 'ä', '"q"', 'k=1', '%20', 'two\nlines', '$(x)', '.x.', '日']
  const name = `${String(number).padStart(3, '0')}-${made.oneOf(words)}${made.oneOf(['', '.csv', '.jsonl', '.gz'])}`
  const { bytes, reading } = await fileFor(bench, made, source, contents, large)
  const temporary = join(folder, 'temporary', 'file')
  await writeFile(temporary, bytes)
  const before = new Date(Date.now() - 1000)
  await utimes(temporary, before, before)
  await rename(temporary, join(folder, 'raw', name))
  return { name, path: join(folder, 'raw', name), reading }
}

async function fileFor(
  bench: Bench,
  made: Generated,
  source: FilesSource,
  contents: Buffer[],
  large: boolean,
): Promise<{ bytes: Buffer; reading: Reading }> {
  if (source.format.is === 'parquet') return await dirtyParquet(bench, made, source, { contents, large, mutate })
  const content =
    source.format.is === 'csv' ? csvFile(made, source, source.format, large) : jsonFile(made, source, large)
  let bytes = Buffer.from(content)
  if (made.whole(0, 9) > 3) bytes = mutate(made, bytes, contents)
  contents.push(bytes)
  const pack = made.oneOf([undefined, undefined, gzipSync, zstdCompressSync])
  if (pack !== undefined) {
    bytes = damaged(made, Buffer.from(pack(bytes)), (other) => Buffer.from(pack(other)), contents)
  }
  return { bytes, reading: readText(bytes, source) }
}

const noise = [
  '\0',
  '"',
  "'",
  ',',
  ';',
  '\n',
  '\r',
  '\r\n',
  '\xff',
  '\xc3',
  '\\',
  '{',
  '}',
  '[',
  ':',
  ' ',
  '\t',
  '""',
  'e',
]

/** The same bytes with a few changes: flipped, put in, taken out, doubled, cut off, or joined with another file. */
function mutate(made: Generated, bytes: Buffer, contents: Buffer[]): Buffer<ArrayBuffer> {
  let changed = bytes.toString('latin1')
  for (let i = made.whole(1, 4); i > 0; i--) {
    const at = made.whole(0, changed.length)
    const to = Math.min(changed.length, at + made.whole(1, made.oneOf([1, 4, 60])))
    const [before, part, after] = [changed.slice(0, at), changed.slice(at, to), changed.slice(to)]
    const flipped = String.fromCharCode((part.charCodeAt(0) || 0) ^ (1 << made.whole(0, 7)))
    changed = made.oneOf([
      () => before + flipped + part.slice(1) + after,
      () => before + made.oneOf(noise) + part.slice(1) + after,
      () => before + made.text(noise, 3) + part + after,
      () => before + after,
      () => before + part + part + after,
      () => after + before + part,
      () => (made.whole(0, 3) > 0 ? before + part + after : before),
      () => before + (contents.length === 0 ? '' : tail(made, made.oneOf(contents))),
    ])()
  }
  return Buffer.from(changed, 'latin1')
}

function tail(made: Generated, bytes: Buffer): string {
  return bytes.toString('latin1', made.whole(0, bytes.length))
}

// What may happen to a packed file on its way: cut, changed, followed by others.
function damaged(
  made: Generated,
  packed: Buffer<ArrayBuffer>,
  pack: (bytes: Buffer) => Buffer,
  contents: Buffer[],
): Buffer<ArrayBuffer> {
  return made.oneOf([
    () => packed,
    () => packed,
    () => packed,
    () => packed,
    () => packed.subarray(0, made.whole(0, packed.length)),
    () => mutate(made, packed, []),
    () => Buffer.concat([packed, Buffer.from(made.text(['\0', '\x1f', '\x8b', 'x'], 5), 'latin1')]),
    () => Buffer.concat([packed, Buffer.alloc(made.whole(0, 2)), pack(made.oneOf(contents))]),
  ])()
}

// ---- comparing -----------------------------------------------------------------------------------------------------

async function compare(plan: Plan, dropped: Dropped[], place: Place, folder: string): Promise<void> {
  const source = sourceOf(plan)
  const step = plan.steps.find(({ op }) => op === 'table')
  if (step?.op !== 'table') throw new Error('the plan has no table')
  const input: InputRow[] = []
  const malformed: string[] = []
  const raws = new Map<string, string>()
  for (const { path, reading } of dropped) {
    if (reading.is === 'quarantined') continue
    for (const piece of reading.pieces) {
      raws.set(`${path}:${piece.line}`, piece.raw)
      if (piece.is === 'malformed') malformed.push(`${path}:${piece.line} ${piece.code} ${piece.column}`)
      else {
        const fields = { ...piece.fields, file: path, line: String(piece.line) }
        input.push({ place: path, line: piece.line, fields })
      }
    }
  }
  const expected = reference(plan, input)

  await using store = await place.openStore()
  const ledger = await store.ledger(plan.name, {})
  const found = new Map<string, StoredFile>()
  const sums = { rowsIn: 0, written: 0, dead: 0, filesQuarantined: 0 }
  for (const line of ledger) {
    assert.equal(
      line.rowsIn,
      line.written + line.filtered + line.duplicates + line.late + line.dead,
      'a batch balances',
    )
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += line[key]
    for (const file of await store.filesOfBatch(plan.name, line.batch)) found.set(file.path, file)
  }
  compareFiles(dropped, found)
  const names = step.columns.map(({ name }) => name)
  const stored = await place.rows(step.table, names)
  same(
    stored.map((row) => shown(step.columns, row)),
    (expected.tables[step.table] ?? []).map((row) => shown(step.columns, row)),
    'rows',
  )
  const letters = await store.deadLetters({ pipeline: plan.name })
  same(
    letters.map(({ place: at, line, code, columnName }) => `${at}:${line} ${code} ${columnName}`),
    [
      ...malformed,
      ...expected.deadLetters.map(({ place: at, line, code, column }) => `${at}:${line} ${code} ${column}`),
    ],
    'dead letters',
  )
  for (const letter of letters) compareRaw(source, letter, raws.get(`${letter.place}:${letter.line}`) ?? '')

  const quarantined = dropped.filter(({ reading }) => reading.is === 'quarantined')
  const dead = malformed.length + expected.books.dead
  const books = { rowsIn: input.length + malformed.length, written: expected.books.written, dead }
  assert.deepEqual(sums, { ...books, filesQuarantined: quarantined.length }, 'the books')
  await compareFolders(dropped, folder)
}

function compareRaw(source: FilesSource, letter: DeadLetter, expected: string): void {
  const at = `${letter.place}:${letter.line}`
  // of Parquet there is no text: its row is shown as JSON
  if (source.format.is === 'parquet') assert.deepEqual(JSON.parse(letter.raw), JSON.parse(expected), at)
  else assert.equal((letter.rawBytes ?? Buffer.from(letter.raw)).toString('latin1'), expected, `the text of ${at}`)
}

function compareFiles(dropped: Dropped[], found: Map<string, StoredFile>): void {
  for (const { path, reading } of dropped) {
    const file = found.get(path)
    const at = `${path}: ${file?.code} ${file?.message}`
    switch (reading.is) {
      case 'quarantined':
        assert.deepEqual([file?.state, file?.rowsDone], ['quarantined', 0], at)
        assert.ok(reading.codes.includes(file?.code ?? ''), `${at}, not ${reading.codes.join(' or ')}`)
        break
      case 'read':
        assert.deepEqual([file?.state, file?.rowsDone], ['done', reading.pieces.length], at)
    }
  }
  assert.equal(found.size, dropped.length, 'files that were read')
}

async function compareFolders(dropped: Dropped[], folder: string): Promise<void> {
  const namesIn = async (path: string) => await readdir(join(folder, path)).catch(() => [])
  const named = (is: Reading['is']) => dropped.filter(({ reading }) => reading.is === is).map(({ name }) => name)
  same(await namesIn('raw/done'), named('read'), 'files that are done')
  same(await namesIn('raw/.claimed'), [], 'claims')
  const errors = (await namesIn('error')).filter((name) => !/^\d+\.csv$/.test(name))
  const wholes = errors.filter((name) => !name.endsWith('.reason.txt'))
  same(
    wholes.map((name) => name.replace(/^\w+-\w+-\w+-/, '')),
    named('quarantined'),
    'files in quarantine',
  )
  for (const name of wholes)
    assert.match(await readFile(join(folder, 'error', `${name}.reason.txt`), 'utf8'), /^[A-Z_0-9]+: /)
}

// Many lines are compared as one text, of which only what differs is told.
function same(found: string[], expected: string[], what: string): void {
  const [a, b] = [found.toSorted(), expected.toSorted()]
  if (a.join('\n') === b.join('\n')) return
  const [more, less] = [without(a, b), without(b, a)]
  assert.fail(
    `${what}: ${found.length} and not ${expected.length}\nfound, not expected:\n${more.slice(0, 5).join('\n')}\nexpected, not found:\n${less.slice(0, 5).join('\n')}`,
  )
}

function without(list: string[], others: string[]): string[] {
  const left = new Map<string, number>()
  for (const other of others) left.set(other, (left.get(other) ?? 0) + 1)
  return list.filter((one) => {
    const count = left.get(one) ?? 0
    left.set(one, count - 1)
    return count <= 0
  })
}

// Two texts may be one value: of a number of floating point, of JSON, of a truth.
function shown(tableColumns: Column[], row: Record<string, unknown>): string {
  return JSON.stringify(
    tableColumns.map(({ name, type }) => {
      const value = row[name] ?? null
      if (value === null) return null
      if (type.is === 'double') return Number(value)
      if (type.is === 'json') return canonical(String(value))
      return type.is === 'boolean' ? String(value).startsWith('t') : String(value)
    }),
  )
}

function canonical(text: string): string {
  try {
    return JSON.stringify(sortedKeys(JSON.parse(text)))
  } catch {
    return `no JSON: ${text}`
  }
}

function sortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sortedKeys(member)]),
  )
}

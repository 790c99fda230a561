/**
 * Runs files that strangers might send, with a good one before and after each, through the real engine, and tells what
 * became of each: the rows that landed, the dead letters, the quarantine. The tests hold that against what a case expects.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  chmod,
  copyFile,
  lchown,
  lutimes,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Duck } from '../../src/engine/duckdb.ts'
import { runPipeline } from '../../src/engine/run.ts'
import { createLog } from '../../src/log.ts'
import type { FilesSource, Plan } from '../../src/plan/plan.ts'
import { openFilesReader } from '../../src/sources/files/reader.ts'
import { memoryDatabase, openMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { type Format, goodFile, goodOutcome, planOf, tableName } from './formats.ts'

/** What becomes of one file, as it stands beside it in `<name>.json`. Long texts are shortened. Nothing: it is not looked at. */
export interface Outcome {
  /** The rows that landed: the physical line, and every column that is not null, as text. */
  rows?: Record<string, string | number>[]
  /** The dead letters. */
  dead?: { line: number; code: string; column?: string; says: string; raw: string }[]
  /** The whole file was put aside. */
  quarantined?: { code: string; says: string }
  /** It stays where it is, and a person is told why. */
  leftAlone?: string
}

export interface Case extends Outcome {
  name: string
  /** The name on the disk, where no text can hold it. */
  nameBytes?: Buffer
  /** What the case shows, in a sentence. */
  shows: string
  /** Makes the file, or whatever it is, at this path. */
  make(path: string): Promise<unknown>
  /** It belongs to another user than the one who reads: see `Run.as`. */
  ofAnother?: true
}

export interface Run {
  format: Format
  cases: readonly Case[]
  road: 'a watched folder' | 'inputs'
  limits?: { rows: number; bytes: number }
  memoryLimitMb?: number
  /** A store, and what its table holds; in memory, when left out. */
  stored?: { store: Store; rows(): Promise<Record<string, string | null>[]> }
  /** The user who reads, when the test runs as root, whom no permission binds. */
  as?: number
  /** Comes before each time the reader is asked for rows, from 1 on. */
  before?(time: number, place: string): Promise<void>
}

/** The cases of `files/<format>`: each file beside what becomes of it. */
export async function committedCases(format: Format): Promise<Case[]> {
  const folder = join(import.meta.dirname, 'files', format)
  const names = (await readdir(folder)).filter((name) => !name.endsWith('.json')).sort()
  return await Promise.all(
    names.map(async (name) => {
      const expected = await readFile(join(folder, `${name}.json`), 'utf8').catch(() => '{}')
      const make = (path: string): Promise<void> => copyFile(join(folder, name), path)
      // as: an expectation that is none of this differs from what is found
      return { shows: '', ...(JSON.parse(expected) as Outcome), name, make }
    }),
  )
}

/** Writes what was found beside the file of a committed case, as what is expected from now on. */
export async function expectFrom(format: Format, { name, shows }: Case, found: Outcome): Promise<void> {
  const path = join(import.meta.dirname, 'files', format, `${name}.json`)
  await writeFile(path, `${JSON.stringify({ shows, ...found }, null, 2)}\n`)
}

/** What a case expects, without its name and the like. */
export function expectedOf({ rows, dead, quarantined, leftAlone }: Case): Outcome {
  return {
    ...(rows ? { rows } : {}),
    ...(dead ? { dead } : {}),
    ...(quarantined ? { quarantined } : {}),
    ...(leftAlone === undefined ? {} : { leftAlone }),
  }
}

/** Runs the cases, and answers what became of each. Fails when a neighbour, the books or the folders are not as they must be. */
export async function outcomesOf(run: Run): Promise<Map<string, Outcome>> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-corpus-'))
  try {
    const { format, cases } = run
    const raw = join(folder, 'raw')
    for (const path of [raw, join(folder, 'outside')]) await mkdir(path)
    for (const each of cases) await drop(folder, run, each)
    const neighbours = neighboursOf(cases)
    for (const name of neighbours) await drop(folder, run, { name, make: (path) => goodFile(format, path) })
    const plan = planOf(format, raw)
    const database = memoryDatabase(Date.now)
    const stored = run.stored ?? { store: openMemoryStore(database), rows: async () => database.rowsOf(tableName) }
    const leftAlone = await asUser(run.as, folder, () => drain(folder, plan, run, stored.store))
    const found = await read(stored, plan)
    for (const [name, says] of leftAlone) found.set(name, { leftAlone: says })
    for (const name of neighbours) assert.deepEqual(found.get(name), goodOutcome(format), `the neighbour ${name}`)
    await checkFolders(folder, run, found)
    return new Map(cases.map(({ name }) => [name, found.get(name) ?? {}]))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

type Dropped = Pick<Case, 'name' | 'nameBytes' | 'make' | 'ofAnother'>

async function drop(folder: string, run: Run, { name, nameBytes, make, ofAnother }: Dropped): Promise<void> {
  const path = join(folder, 'outside', 'file')
  await make(path)
  // as a finished file that is moved in looks
  const before = Date.now() / 1000 - 1
  await lutimes(path, before, before)
  if (run.as !== undefined && !ofAnother) await lchown(path, run.as, run.as)
  await rename(path, Buffer.concat([Buffer.from(join(folder, 'raw/')), nameBytes ?? Buffer.from(name)]))
}

// One before all cases, and one after each, in the order in which files are read.
function neighboursOf(cases: readonly Case[]): string[] {
  const after = cases.map(({ name }) => `${name}~`).filter((name) => !name.startsWith('.') && name.length < 200)
  return ['!first', ...after, '~last']
}

async function asUser<T>(user: number | undefined, folder: string, work: () => Promise<T>): Promise<T> {
  if (user === undefined) return await work()
  // nobody moves what is another's out of such a folder
  for (const path of [folder, join(folder, 'raw')]) await chmod(path, 0o1777)
  process.seteuid?.(user)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

async function drain(folder: string, plan: Plan, run: Run, store: Store): Promise<Map<string, string>> {
  // as: every plan of the corpus reads files
  const [[id, source]] = Object.entries(plan.sources) as [[string, FilesSource]]
  const spool = join(folder, 'spool', 'own')
  const memoryLimitMb = run.memoryLimitMb ?? 96
  await using duck = await Duck.open({ folders: [spool], temporary: join(folder, 'duckdb'), memoryLimitMb, threads: 2 })
  using session = await duck.connect()
  const leftAlone = new Map<string, string>()
  let time = 0
  await store.register(plan)
  await runPipeline({
    plan,
    store,
    duck,
    spool,
    async openReader() {
      const reader = await openFilesReader({
        id,
        source,
        spool,
        sql: session,
        known: (ids) => store.files(plan.name, id, ids),
        onProblem: (problem) => {
          throw problem
        },
        onLeftAlone: (path, why) => leftAlone.set(basename(path), why),
        ...(run.road === 'inputs' ? { inputs: { paths: [source.folder], again: false } } : {}),
      })
      const next = reader.next.bind(reader)
      reader.next = async (limits) => {
        await run.before?.(++time, source.folder)
        return await next(limits)
      }
      return reader
    },
    effects: { quarantine: join(folder, 'error'), logs: join(folder, 'logs') },
    limits: run.limits ?? { rows: 1000, bytes: 1e6 },
    intervalMs: 0,
    owner: 'test:1',
    kind: 'stream',
    bounded: true,
    log: createLog('error', { write: () => {} }),
    signal: new AbortController().signal,
  })
  return leftAlone
}

// What the store has of each file, and whether its books say the same.
async function read({ store, rows }: NonNullable<Run['stored']>, plan: Plan): Promise<Map<string, Outcome>> {
  const found = new Map<string, Outcome>()
  const of = (path: string): Outcome =>
    found.get(basename(path)) ?? found.set(basename(path), {}).get(basename(path)) ?? {}
  const books = { rowsIn: 0, written: 0, duplicates: 0, dead: 0, filesQuarantined: 0 }
  const counted = { ...books }
  for (const line of await store.ledger(plan.name, {})) {
    for (const verdict of Object.keys(books) as (keyof typeof books)[]) books[verdict] += line[verdict]
    for (const { path, state, code = '', message = '', rowsDone } of await store.filesOfBatch(plan.name, line.batch)) {
      counted.rowsIn += rowsDone
      const outcome = of(path)
      if (state === 'done') outcome.rows ??= []
      if (state !== 'quarantined') continue
      counted.filesQuarantined++
      outcome.quarantined = { code, says: message }
    }
  }
  const landed = (await rows()).map(({ file, line, ...row }) => ({ file: file ?? '', line: Number(line), row }))
  for (const { file, line, row } of landed.sort((a, b) => a.line - b.line)) {
    const values = Object.entries(row).flatMap(([name, value]) => (value === null ? [] : [[name, shortened(value)]]))
    const outcome = of(file)
    outcome.rows = [...(outcome.rows ?? []), { line, ...Object.fromEntries(values) }]
    counted.written++
  }
  for (const { place, line, code, columnName, message, raw } of await store.deadLetters({ pipeline: plan.name })) {
    const column = columnName === null ? {} : { column: columnName }
    // the path is a part of the key, and not everywhere the same
    const says = shortened(message.replace(/^(the key .* has) \d+ (bytes)/, '$1 N $2'))
    const outcome = of(place)
    outcome.dead = [...(outcome.dead ?? []), { line: line ?? 0, code, ...column, says, raw: shortened(raw) }]
    counted.dead++
  }
  assert.deepEqual(books, { ...counted, duplicates: books.duplicates }, 'the books say what is there')
  assert.equal(books.rowsIn, books.written + books.duplicates + books.dead, 'the books balance')
  for (const { dead } of found.values()) dead?.sort((a, b) => a.line - b.line)
  return found
}

async function checkFolders(folder: string, { road }: Run, found: Map<string, Outcome>): Promise<void> {
  const listed = async (path: string): Promise<string[]> => (await readdir(join(folder, path)).catch(() => [])).sort()
  assert.deepEqual(await listed('spool/own'), [], 'the spool is left clean')
  const named = (is: (outcome: Outcome) => boolean): string[] =>
    [...found].flatMap(([name, outcome]) => (is(outcome) ? [name] : [])).sort()
  const quarantined = named((outcome) => outcome.quarantined !== undefined)
  const reasons = (await listed('error')).filter((name) => name.endsWith('.reason.txt'))
  assert.equal(reasons.length, quarantined.length, 'files that were put aside have a reason beside them')
  if (road === 'inputs') return
  const done = named((outcome) => outcome.rows !== undefined && outcome.quarantined === undefined)
  // the second of a name has its claim before it
  const moved = (await listed('raw/done')).map((name) => name.replace(/^\w{9}-\w+-\w{6}-/, ''))
  assert.deepEqual([...new Set(moved)].sort(), done, 'files that are done')
  assert.deepEqual(await listed('raw/.claimed'), [], 'claims')
}

/** A long text as its beginning, its length and its hash. */
export function shortened(text: string): string {
  if (text.length <= 300) return text
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16)
  return `${text.slice(0, 60)}... (${text.length} characters, ${hash})`
}

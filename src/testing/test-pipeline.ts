/**
 * A pipeline under test: the engine that runs it everywhere, over a store and topics in memory and a folder of its own,
 * with a clock that the test moves. What a test asks for is done when the worker has nothing left to do.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'
import { type Duration, parseDuration } from '../duration.ts'
import { Duck } from '../engine/duckdb.ts'
import { topicSinks } from '../engine/outbox.ts'
import { runPipeline, type WorkerOptions } from '../engine/run.ts'
import { MillraceError } from '../errors.ts'
import { typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/type-of.ts'
import { createLog } from '../log.ts'
import { checkPlan } from '../plan/check.ts'
import type { Plan, Source } from '../plan/plan.ts'
import { unreadColumns } from '../plan/unread-columns.ts'
import { sources } from '../sources/index.ts'
import { severalReaders } from '../sources/several.ts'
import type { SourceReader } from '../sources/source.ts'
import { readHeaders } from '../sources/topic/headers.ts'
import { type MemoryTopics, memoryTopics } from '../sources/topic/memory.ts'
import { type MemoryDatabase, memoryDatabase, openMemoryStore } from '../store/memory.ts'
import { dropFile, extensionOf, type FeedOptions, type GivenRow, recordOf } from './given-rows.ts'
import { unknown, wrong } from './mistakes.ts'
import type { Books, DeadLetter, LateRow, Published, Quarantined, WrittenFile } from './results.ts'
import { Steps } from './steps.ts'
import { inside, planOf, type TestedPipeline, type TestOptions } from './tested-plan.ts'
import { byKey, momentAt, momentOf, type TestRow, typedRow } from './typed-rows.ts'

/**
 * Opens a pipeline for a test. It needs no server and no Postgres, and leaves nothing behind when it is disposed of. Of a
 * system only the plan is run: it has no migrations, no quarantine and no archive here.
 *
 *   await using test = await testPipeline(orders)
 *   await test.feed('files', [{ id: 'a', total: 12.5 }])
 *   assert.deepEqual(test.rows('orders'), [{ id: 'a', total: 12.5 }])
 */
export async function testPipeline(pipeline: TestedPipeline, options: TestOptions = {}): Promise<TestPipeline> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  try {
    const plan = planOf(pipeline, join(folder, 'data'), options)
    checkPlan(plan, { typeOfExpression, typeOfAggregate })
    return await TestPipeline.open(plan, folder, options)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

export class TestPipeline implements AsyncDisposable {
  readonly #plan: Plan
  readonly #folder: string
  readonly #duck: Duck
  readonly #partitions: number
  #now: number
  readonly #database: MemoryDatabase
  readonly #topics: MemoryTopics
  #steps: Steps | undefined
  #workers = 0
  #files = 0
  /** One thing after another, whether the test waits or not. */
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(plan: Plan, folder: string, duck: Duck, { now, partitions = 1 }: TestOptions) {
    this.#plan = plan
    this.#folder = folder
    this.#duck = duck
    this.#now = clockFrom(now ?? '2026-01-01T00:00:00Z')
    this.#partitions = atLeastOne('partitions', partitions)
    this.#database = memoryDatabase(() => this.#now)
    this.#topics = memoryTopics(() => this.#now)
    for (const source of Object.values(plan.sources)) {
      if (source.is === 'topic') this.#topics.make(source.topic, partitions)
    }
  }

  /** Not for tests: they call `testPipeline`. */
  static async open(plan: Plan, folder: string, options: TestOptions): Promise<TestPipeline> {
    const temporary = join(folder, 'duckdb')
    const duck = await Duck.open({ folders: [folder], temporary, memoryLimitMb: 500, threads: 1 })
    try {
      const test = new TestPipeline(plan, folder, duck, options)
      await test.#start()
      return test
    } catch (error) {
      await duck[Symbol.asyncDispose]()
      throw error
    }
  }

  // ---- what happens ------------------------------------------------------------------------------------------------

  /**
   * Gives rows to a source, and resolves when they are committed. They are one batch, unless it is told otherwise. In
   * place of a list stands the content of a whole file, or one message.
   */
  feed(source: string, rows: readonly GivenRow[] | string | Uint8Array, options: FeedOptions = {}): Promise<void> {
    return this.#inTurn(async () => {
      for (const part of partsOf(rows, atLeastOne('batches', options.batches ?? 1))) {
        const steps = this.#running()
        await this.#give(source, part, options)
        await steps.goOn()
      }
    })
  }

  /** Moves the clock, and does what is due then: partitions become idle, windows are updated, or closed. */
  advance(by: Duration): Promise<void> {
    return this.#inTurn(async () => {
      const ms = typeof by === 'number' ? by : parseDuration(by)
      if (ms === undefined || !Number.isInteger(ms) || ms < 0) {
        throw wrong(
          `the clock cannot be moved by ${JSON.stringify(by)}`,
          'write whole milliseconds, or a text such as "250 ms", "10 seconds" or "2 hours"',
        )
      }
      const steps = this.#running()
      this.#now += ms
      await steps.goOn()
    })
  }

  /** Nothing follows, as with `millrace run --final`: the last windows are closed. What is fed later is late for them. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#running().stop()
      this.#steps = new Steps((signal) => this.#work({ kind: 'backfill', bounded: true, final: true, signal }))
      await this.#steps.ended
      await this.#start()
    })
  }

  /** Puts a new worker in place of the one that is there, or that has failed: it goes on from what is committed. */
  restart(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#running()
        .stop()
        .catch(() => {})
      await this.#start()
    })
  }

  // ---- what has come of it -----------------------------------------------------------------------------------------

  /** The clock. */
  get now(): string {
    return momentAt(this.#now)
  }

  /** How far event time has come, once every partition has shown it or is idle. */
  get watermark(): string | undefined {
    const watermark = this.#database.pipelines.get(this.#plan.name)?.watermark
    return watermark === undefined ? undefined : momentAt(watermark)
  }

  /** The rows of a table: in the order of its key, where it has one, and else in the order in which they came. */
  rows(table: string): TestRow[] {
    const stored = this.#database.tables.get(table)
    if (stored === undefined) {
      throw unknown(
        'UNKNOWN_SINK',
        `${this.#plan.name} writes no table "${table}"`,
        table,
        this.#database.tables.keys(),
      )
    }
    const rows = this.#database.rowsOf(table)
    if (stored.key !== undefined) rows.sort(byKey(stored.columns, stored.key))
    return rows.map((row) => typedRow(stored.columns, this.#shown(row)))
  }

  /** The rows that broke a rule. */
  deadLetters(): DeadLetter[] {
    return this.#database.deadLetters.map(
      ({ source, place, line, stage, code, columnName: column, message, raw, fields }) => ({
        source,
        place: this.#inFolder(place),
        line,
        stage,
        code,
        column,
        message,
        raw,
        fields: fields && this.#shown(fields),
      }),
    )
  }

  /** The rows that came when all their windows were closed, of steps that keep them. */
  lateRows(): LateRow[] {
    return this.#database.lateRows.map((row) => ({
      step: row['step'] ?? '',
      place: this.#inFolder(row['place'] ?? ''),
      eventTime: momentOf(row['event_time'] ?? ''),
      windowStart: row['window_start'] == null ? null : momentOf(row['window_start']),
      lateByMs: Number(row['late_by_ms']),
      raw: row['raw'] ?? '',
    }))
  }

  /** What became of the rows that came in: the sums of all batches. */
  get books(): Books {
    const books: Books = { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0, batches: 0 }
    const { ledger = [], batch = 0 } = this.#database.pipelines.get(this.#plan.name) ?? {}
    for (const line of ledger) {
      for (const verdict of ['rowsIn', 'written', 'filtered', 'duplicates', 'late', 'dead'] as const)
        books[verdict] += line[verdict]
    }
    return { ...books, batches: batch }
  }

  /** The files that could not be read. */
  quarantined(): Quarantined[] {
    const files = [...(this.#database.pipelines.get(this.#plan.name)?.files.values() ?? [])]
    return files
      .filter(({ state }) => state === 'quarantined')
      .map(({ path, code = '', message = '' }) => ({ file: this.#inFolder(path), code, message }))
  }

  /** The files that the pipeline has written into a folder, by name. */
  async files(folder: string): Promise<WrittenFile[]> {
    const at = inside(join(this.#folder, 'data'), folder)
    const folders = this.#plan.steps.flatMap((step) => (step.op === 'files' ? [step.folder] : []))
    if (!folders.includes(at)) {
      const known = folders.map((each) => this.#inFolder(each))
      throw unknown('UNKNOWN_SINK', `${this.#plan.name} writes no files into "${folder}"`, folder, known)
    }
    // there is none before the first batch with rows
    const entries = await readdir(at, { recursive: true, withFileTypes: true }).catch(() => [])
    const names = entries
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => relative(at, join(parentPath, name)))
      .filter((name) => !name.startsWith('.'))
    return await Promise.all(names.sort().map(async (name) => ({ name, content: await readFile(join(at, name)) })))
  }

  /** The messages that the pipeline has published to a topic, in the order in which they lie there. */
  published(topic: string): Published[] {
    const topics = topicSinks(this.#plan).map((step) => step.topic)
    if (!topics.includes(topic))
      throw unknown('UNKNOWN_SINK', `${this.#plan.name} publishes nothing to "${topic}"`, topic, topics)
    return this.#topics.recordsOf(topic).map(({ bytes, at }) => {
      const headers = readHeaders(bytes, at).map(([name, value]) => [name, value?.toString() ?? ''])
      return {
        key: at.keyFrom < 0 ? null : bytes.toString('utf8', at.keyFrom, at.keyTo),
        value: JSON.parse(this.#inFolder(bytes.toString('utf8', at.valueFrom, at.valueTo))),
        headers: Object.fromEntries(headers),
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn
    await this.#steps?.stop().catch(() => {})
    this.#steps = undefined
    await this.#duck[Symbol.asyncDispose]()
    await rm(this.#folder, { recursive: true, force: true })
  }

  // ---- the worker --------------------------------------------------------------------------------------------------

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work)
    // who asked for it hears of it
    this.#turn = turn.catch(() => {})
    await turn
  }

  async #start(): Promise<void> {
    this.#steps = new Steps((signal, onIdle) => this.#work({ kind: 'stream', bounded: false, signal, onIdle }))
    await this.#steps.idle()
  }

  #running(): Steps {
    if (this.#steps !== undefined) return this.#steps
    throw new MillraceError('NOT_SUPPORTED', { message: 'the test has disposed of its pipeline' })
  }

  async #work(how: Pick<WorkerOptions, 'kind' | 'bounded' | 'final' | 'signal' | 'onIdle'>): Promise<void> {
    const [plan, duck] = [this.#plan, this.#duck]
    await using store = openMemoryStore(this.#database)
    await store.register(plan)
    using sql = await duck.connect()
    const spool = join(this.#folder, 'spool', String(++this.#workers))
    const openReader = async ([id, source]: [string, Source]): Promise<SourceReader> => {
      switch (source.is) {
        case 'files':
          return await sources.files({
            id,
            source,
            spool,
            sql,
            apart: (share) => duck.apart(share),
            known: (ids) => store.files(plan.name, id, ids),
            onProblem: thrown,
          })
        case 'topic':
          return await sources.topic({
            id,
            source,
            unread: unreadColumns(plan, id),
            reader: await this.#topics.openReader(source.topic),
            bounded: how.bounded,
            positions: async () => (await store.committed(plan.name)).positions,
            spool,
            sql,
            onLost: thrown,
          })
      }
    }
    await runPipeline({
      ...how,
      plan,
      store,
      duck,
      spool,
      openReader: async () => severalReaders(await Promise.all(Object.entries(plan.sources).map(openReader))),
      effects: { quarantine: undefined, logs: join(this.#folder, 'logs') },
      publish: { openWriter: (topic) => this.#topics.openWriter(topic), mostRows: 1_000_000_000, patienceMs: 60_000 },
      // what is fed at once is one batch
      limits: { rows: 1_000_000_000, bytes: 1_000_000_000 },
      intervalMs: 0,
      owner: 'test',
      now: () => this.#now,
      log: createLog('error', { write: () => {} }),
    })
  }

  async #give(id: string, part: Part, options: FeedOptions): Promise<void> {
    const source = Object.hasOwn(this.#plan.sources, id) ? this.#plan.sources[id] : undefined
    switch (source?.is) {
      case 'files': {
        if (options.partition !== undefined) throw wrong(`"${id}" is files, and files have no partitions`)
        const number = String(++this.#files).padStart(3, '0')
        const name = options.file ?? `${number}.${extensionOf(source)}`
        using session = await this.#duck.connect()
        await dropFile(part, { source, folder: this.#folder, session, name })
        return
      }
      case 'topic': {
        const { partition = 0 } = options
        if (!Number.isInteger(partition) || partition < 0 || partition >= this.#partitions) {
          throw wrong(
            `"${id}" has no partition ${partition}, but ${this.#partitions === 1 ? 'only partition 0' : `partitions 0 to ${this.#partitions - 1}`}`,
            'say how many there are: testPipeline(..., { partitions: 2 })',
          )
        }
        const messages = typeof part === 'string' || part instanceof Uint8Array ? [part] : part
        this.#topics.put(
          source.topic,
          partition,
          messages.map((row) => recordOf(row, options)),
        )
        return
      }
      case undefined:
        throw unknown('UNKNOWN_SOURCE', `${this.#plan.name} has no source "${id}"`, id, Object.keys(this.#plan.sources))
    }
  }

  // ---- places ------------------------------------------------------------------------------------------------------

  // A path in the folder of this test is told as it would be under MILLRACE_DATA.
  #inFolder(text: string): string {
    return text.replaceAll(join(this.#folder, 'data', sep), '')
  }

  #shown(row: Record<string, string | null>): Record<string, string | null> {
    return Object.fromEntries(
      Object.entries(row).map(([name, text]) => [name, text === null ? null : this.#inFolder(text)]),
    )
  }
}

type Part = string | Uint8Array | readonly GivenRow[]

// The rows in so many parts, in their order, of which none is more than one row longer than another.
function partsOf(rows: Part, batches: number): Part[] {
  if (batches === 1) return [rows]
  if (typeof rows === 'string' || rows instanceof Uint8Array)
    throw wrong('what is fed as one text cannot be cut into batches', 'feed a list of rows, or texts')
  const from = (part: number): number => Math.floor((part * rows.length) / batches)
  return Array.from({ length: batches }, (_, n) => rows.slice(from(n), from(n + 1))).filter(({ length }) => length > 0)
}

function clockFrom(moment: string | Date): number {
  const ms = new Date(moment).getTime()
  if (Number.isFinite(ms)) return ms
  throw wrong(`"${String(moment)}" is no moment`, 'write it as 2026-01-01T00:00:00Z')
}

function atLeastOne(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value
  throw wrong(`${name} is ${value}`, 'write a whole number from 1 on')
}

function thrown(problem: MillraceError): never {
  throw problem
}

/**
 * What was posted under each Idempotency-Key in the last 24 hours. The truth is in the topic: every record carries its key.
 * This is an index of it, in a file of its own, which may be behind and is brought up to date from the records.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { asDiskFull, diskFull } from '../../errors.ts'
import { readHeaders } from '../../sources/topic/headers.ts'
import type { Appended, RecordAt, RecordSink, TopicReader } from '../../sources/topic/topic.ts'
import { isNoRoom } from '../../store/sqlite.ts'

export const keysKeptMs = 24 * 60 * 60 * 1000

const writeEveryMs = 50

const keyHeader = 'idempotency-key'
/** What its request was: the hash of its events, and their number. */
const requestHeader = 'idempotency-request'

export interface KeyedRequest {
  key: string
  hash: string
  events: number
}

/** A request of which some or all events are in the topic. */
export interface Posted extends KeyedRequest {
  ranges: Appended[]
  atMs: number
}

/** What each record of a request carries. */
export function headersOf({ key, hash, events }: KeyedRequest): [string, Buffer][] {
  return [
    [keyHeader, Buffer.from(key)],
    [requestHeader, Buffer.from(`${hash} ${events}`)],
  ]
}

/** How many of its events are in the topic: fewer than it has, if their writer was killed. */
export function eventsIn(ranges: readonly Appended[]): number {
  return ranges.reduce((sum, { first, end }) => sum + end - first, 0)
}

export class PostedKeys implements Disposable {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #find: StatementSync
  readonly #keep: StatementSync
  /** What is not in the file yet: many are written at a time, and none while the disk has no room. All is in the topic. */
  readonly #unwritten = new Map<string, Posted>()
  #writing: NodeJS.Timeout | undefined
  /** Why it could not be written: whoever asks next hears of it. */
  #fault: unknown

  constructor(path: string) {
    this.#path = path
    try {
      mkdirSync(dirname(path), { recursive: true })
      this.#database = openDatabase(path)
    } catch (error) {
      throw isNoRoom(error, path) ? diskFull(path, error) : asDiskFull(error, path)
    }
    this.#find = this.#database.prepare('select * from posted where key = ?')
    this.#keep = this.#database.prepare('insert or replace into posted values (?, ?, ?, ?, ?)')
  }

  find(key: string, sinceMs: number): Posted | undefined {
    const fault = this.#fault
    this.#fault = undefined
    if (fault !== undefined) throw fault
    const found = this.#unwritten.get(key) ?? this.#read(key)
    return found !== undefined && found.atMs >= sinceMs ? found : undefined
  }

  keep(posted: Posted): void {
    this.#unwritten.set(posted.key, posted)
    this.#writing ??= setTimeout(() => this.#writeLater(), writeEveryMs).unref()
  }

  #writeLater(): void {
    this.#writing = undefined
    try {
      this.#write()
    } catch (error) {
      this.#fault = error
    }
  }

  /** Reads on where it stands, to the end of the topic. `from` is where to begin in a topic that it has never seen. */
  async catchUp(reader: TopicReader, from: 'first' | 'end', sinceMs: number): Promise<void> {
    const ends = await reader.partitions()
    const known = this.#positions()
    // a topic that ends before it was made anew
    if (ends.some(({ partition, end }) => (known.get(partition) ?? 0) > end)) {
      this.#database.exec('delete from posted; delete from positions')
      this.#unwritten.clear()
      known.clear()
    }
    const seen = new Seen(sinceMs, (key) => this.find(key, sinceMs))
    const isNew = from === 'end' && known.size === 0
    const next = new Map(
      ends.map(({ partition, first, end }) => [
        partition,
        Math.max(known.get(partition) ?? (isNew ? end : first), first),
      ]),
    )
    let reached: ReadonlyMap<number, number> = next
    while (ends.some(({ partition, end }) => (reached.get(partition) ?? end) < end)) {
      reached = await reader.read(reached, seen, 1000)
    }
    for (const posted of seen.posted.values()) this.#unwritten.set(posted.key, posted)
    this.#write()
    this.stands(new Map(ends.map(({ partition, end }) => [partition, end])), sinceMs)
  }

  /** Every keyed record before these offsets is in here. */
  stands(positions: ReadonlyMap<number, number>, sinceMs: number): void {
    if (!this.#write()) return
    const move = this.#database.prepare('insert or replace into positions values (?, ?)')
    this.#inOne(() => {
      for (const [partition, position] of positions) move.run(partition, position)
      // a partition that comes later is read from its beginning
      move.run(noPartition, 0)
      this.#database.prepare('delete from posted where at < ?').run(sinceMs)
    })
  }

  #positions(): Map<number, number> {
    const rows = this.#database.prepare('select partition, position from positions').all()
    return new Map(rows.map(({ partition, position }) => [Number(partition), Number(position)]))
  }

  #read(key: string): Posted | undefined {
    const row = this.#find.get(key)
    if (row === undefined) return undefined
    // as: written by this class alone
    const ranges = JSON.parse(String(row['ranges'])) as Appended[]
    return { key, hash: String(row['hash']), events: Number(row['events']), ranges, atMs: Number(row['at']) }
  }

  // False when there is no room: nothing is lost, for the position stays where it is.
  #write(): boolean {
    if (this.#unwritten.size === 0) return true
    return this.#inOne(
      () => {
        for (const { key, hash, events, ranges, atMs } of this.#unwritten.values())
          this.#keep.run(key, hash, events, JSON.stringify(ranges), atMs)
      },
      () => this.#unwritten.clear(),
    )
  }

  #inOne(work: () => void, done: () => void = () => {}): boolean {
    try {
      this.#database.exec('begin')
      work()
      this.#database.exec('commit')
      done()
      return true
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('rollback')
      if (isNoRoom(error, this.#path)) return false
      throw error
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#writing)
    this.#database.close()
  }
}

/** Gathers the keyed records that it is handed, one after another of each partition. */
class Seen implements RecordSink {
  readonly full = false
  readonly posted = new Map<string, Posted>()
  readonly #sinceMs: number
  readonly #known: (key: string) => Posted | undefined

  constructor(sinceMs: number, known: (key: string) => Posted | undefined) {
    this.#sinceMs = sinceMs
    this.#known = known
  }

  take(bytes: Buffer, at: RecordAt): void {
    if (at.headers === 0 || at.timestampMs < this.#sinceMs) return
    const headers = new Map(readHeaders(bytes, at))
    const key = headers.get(keyHeader)?.toString()
    const [hash = '', events = ''] = headers.get(requestHeader)?.toString().split(' ') ?? []
    if (key === undefined || events === '') return
    let posted = this.posted.get(key) ?? this.#known(key)
    // the key of a request that is older than a day may come again, for another
    if (posted?.hash !== hash) posted = { key, hash, events: Number(events), ranges: [], atMs: at.timestampMs }
    this.posted.set(key, withRecord(posted, at.partition, at.offset))
  }
}

function withRecord(posted: Posted, partition: number, offset: number): Posted {
  const { ranges } = posted
  if (ranges.some((range) => range.partition === partition && range.first <= offset && offset < range.end))
    return posted
  const last = ranges.at(-1)
  if (last?.partition === partition && last.end === offset) {
    last.end = offset + 1
    return posted
  }
  return { ...posted, ranges: [...ranges, { partition, first: offset, end: offset + 1 }] }
}

// One that a power cut has spoilt is made anew from the topic.
function openDatabase(path: string): DatabaseSync {
  try {
    return prepared(new DatabaseSync(path))
  } catch (error) {
    if (!isSpoilt(error)) throw error
    for (const file of [path, `${path}-wal`, `${path}-shm`]) rmSync(file, { force: true })
    return prepared(new DatabaseSync(path))
  }
}

function prepared(database: DatabaseSync): DatabaseSync {
  try {
    // not synced with every commit: a power cut takes the last ones away, and its position with them
    database.exec(`
      pragma journal_mode = wal;
      pragma synchronous = normal;
      create table if not exists posted (
        key     text primary key,
        hash    text not null,
        events  integer not null,
        ranges  text not null,
        at      integer not null
      ) without rowid;
      create index if not exists posted_by_time on posted (at);
      create table if not exists positions (partition integer primary key, position integer not null)`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Stands for the topic: that it has been looked at. */
const noPartition = -1
const [corrupt, notDatabase] = [11, 26]

function isSpoilt(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (error.errcode === corrupt || error.errcode === notDatabase)
}

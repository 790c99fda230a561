/** Appending to a local topic and reading it, beside what the disk and the checksum alone take. */
import { mkdir, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32c } from '../src/sources/topic/crc32c.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import type { RecordSink, TopicRecord, Topics, TopicWriter } from '../src/sources/topic/topic.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const valueBytes = 160
const batchRecords = 1000
/** So many batches are under way while records are appended in batches. */
const batchesAtOnce = 8
const singlesAtOnce = 64
const singleSeconds = 3
const seeks = 200

/** Records or appends a second, but for the last. */
interface Round {
  batches: number
  /** The same bytes in as large pieces, each synced. */
  bareBatches: number
  singles: number
  /** One sync after another, of what 64 such records take: what there would be without gathering more. */
  bareSingles: number
  read: number
  /** The file read in as large pieces, and a checksum taken over it. */
  bareRead: number
  seekMs: number
}

export async function benchLog({ root, rows, rounds }: { root: string; rows: number; rounds: number }): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `log-${process.pid}`)
  const results: Round[] = []
  try {
    for (let round = 0; round <= rounds; round++) {
      await rm(room, { recursive: true, force: true })
      await mkdir(room, { recursive: true })
      const result = await oneRound(room, rows)
      // the first warms up
      if (round > 0) results.push(result)
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  print(results)
  await saveResult(here, `log-${rows}`, { machine: machine(), rows, results })
}

async function oneRound(room: string, rows: number): Promise<Round> {
  await using topics = openLocalTopics(join(room, 'topics'))
  const batches = await appendBatches(topics, rows)
  const read = await readAll(topics, rows)
  const seekMs = await seekAnywhere(topics, rows)
  const segment = join(room, 'topics', 'batches', '0', `${'0'.repeat(20)}.log`)
  const frameBytes = valueBytes + 32
  return {
    batches,
    read,
    seekMs,
    bareBatches: await bareWrites(join(room, 'bare'), Math.ceil(rows / batchRecords), batchRecords, frameBytes),
    bareRead: await bareRead(segment, frameBytes),
    singles: await appendSingles(topics),
    bareSingles: await bareWrites(join(room, 'bare'), 500, singlesAtOnce, frameBytes),
  }
}

async function appendBatches(topics: Topics, rows: number): Promise<number> {
  const records = Array.from({ length: batchRecords }, (_, n): TopicRecord => ({ value: Buffer.alloc(valueBytes, n) }))
  await using writer = await topics.openWriter('batches')
  let left = Math.ceil(rows / batchRecords)
  return await perSecond(rows, () =>
    atOnce(batchesAtOnce, async () => {
      while (left-- > 0) await writer.append(records)
    }),
  )
}

async function appendSingles(topics: Topics): Promise<number> {
  await using writer: TopicWriter = await topics.openWriter('singles')
  const record = [{ value: Buffer.alloc(valueBytes, 'x') }]
  const until = performance.now() + singleSeconds * 1000
  let appended = 0
  await atOnce(singlesAtOnce, async () => {
    for (; performance.now() < until; appended++) await writer.append(record)
  })
  return appended / singleSeconds
}

async function readAll(topics: Topics, rows: number): Promise<number> {
  await using reader = await topics.openReader('batches')
  let taken = 0
  let bytesTaken = 0
  const sink: RecordSink = {
    full: false,
    take(_bytes, at) {
      taken++
      bytesTaken += at.valueTo - at.valueFrom
    },
  }
  const speed = await perSecond(rows, () => reader.read(new Map([[0, 0]]), sink, 0))
  if (taken < rows || bytesTaken !== taken * valueBytes) throw new Error(`${taken} of ${rows} records were read`)
  return speed
}

/** A reader that is opened at some offset and gets the record that lies there. */
async function seekAnywhere(topics: Topics, rows: number): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < seeks; n++) {
    // any that lie far apart
    const offset = (n * 7_919_993) % rows
    const began = performance.now()
    await using reader = await topics.openReader('batches')
    let found = -1
    const sink = {
      get full() {
        return found >= 0
      },
      take(_bytes: Buffer, at: { offset: number }) {
        found = at.offset
      },
    }
    await reader.read(new Map([[0, offset]]), sink, 0)
    if (found !== offset) throw new Error(`offset ${found} was read, and not ${offset}`)
    times.push(performance.now() - began)
  }
  return median(times)
}

async function bareWrites(path: string, pieces: number, records: number, frameBytes: number): Promise<number> {
  const bytes = Buffer.alloc(records * frameBytes, 'x')
  await using file = await open(path, 'w')
  return await perSecond(pieces * records, async () => {
    for (let n = 0; n < pieces; n++) {
      await file.write(bytes, 0, bytes.length, n * bytes.length)
      await file.datasync()
    }
  })
}

async function bareRead(path: string, frameBytes: number): Promise<number> {
  const { size } = await stat(path)
  await using file = await open(path, 'r')
  return await perSecond(size / frameBytes, async () => {
    for (let at = 0; at < size; ) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(2 * 1024 * 1024), { position: at })
      crc32c(buffer, 0, bytesRead)
      at += bytesRead
    }
  })
}

async function atOnce(times: number, run: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: times }, run))
}

async function perSecond(count: number, run: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await run()
  return (1000 * count) / (performance.now() - began)
}

function print(results: readonly Round[]): void {
  const of = (value: (round: Round) => number): number => median(results.map(value))
  const line = (what: string, value: (round: Round) => number, bare: (round: Round) => number): string[] => [
    what,
    of(value).toFixed(0),
    of(bare).toFixed(0),
    of((round) => value(round) / bare(round)).toFixed(2),
  ]
  printTable(
    ['a second', 'local log', 'beside it', 'ratio'],
    [
      line(
        `records in appends of ${batchRecords}`,
        (round) => round.batches,
        (round) => round.bareBatches,
      ),
      line(
        `single appends, ${singlesAtOnce} at once`,
        (round) => round.singles,
        (round) => round.bareSingles,
      ),
      line(
        'records read',
        (round) => round.read,
        (round) => round.bareRead,
      ),
    ],
  )
  process.stdout.write(
    `\nopening a reader anywhere and getting a record: ${of((round) => round.seekMs).toFixed(2)} ms\n`,
  )
}

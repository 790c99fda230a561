/**
 * Rows between the stages of a bounded run, as Parquet files by bucket. What a batch leaves is made durable under its epoch
 * and number before it commits; it counts when the ledger has that batch under that epoch.
 */
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asDiskFull, MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { Range, Sql, Where } from '../sources/source.ts'
import type { Store } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'
import type { Exchange } from './stages.ts'

/** Where the exchanges of a run lie, and in how many buckets. */
export interface ExchangePlace {
  folder: string
  buckets: number
}

/** What a batch leaves for the stages after it. */
export interface Left {
  exchange: Exchange
  rows: number
  /** In the spool, until the batch commits. */
  at: string
}

const bucket = '_bucket'

/** Writes the rows of an exchange into the spool, by bucket. */
export async function leaveRows(
  session: DuckSession,
  exchange: Exchange,
  rows: { from: string; staged: string; where: Where; at: string; buckets: number; number: number },
): Promise<Left> {
  const { from, staged, where, at, buckets, number } = rows
  await rm(at, { recursive: true, force: true })
  const names = exchange.columns.map(({ name }) => `r.${identifier(name)}`)
  const hash = `hash(${exchange.by.map((name) => `r.${identifier(name)}`).join(', ')}) % ${buckets}`
  if (exchange.ofInput && exchange.time === undefined) names.push('r._time')
  const select = exchange.places
    ? `select
  ${names.join(', ')},
  -- no two batches have the same
  (${number}::bigint << 32) + r._row as _row,
  ${where.place} as _place,
  ${where.line} as _line,
  ${hash} as ${bucket}
from ${from} r
join ${staged} s on s._row = r._row
${where.join}`
    : `select ${names.join(', ')}, ${hash} as ${bucket} from ${from} r`
  const count = await session.run(`copy (\n${select}\n) to ${sqlText(at)} (format parquet, partition_by (${bucket}))`)
  return { exchange, rows: count, at }
}

/** Makes what a batch leaves durable, and puts it where the next stage finds it. */
export async function keepRows(
  left: readonly Left[],
  place: ExchangePlace,
  epoch: number,
  number: number,
): Promise<void> {
  for (const { exchange, rows, at } of left) {
    if (rows === 0) continue
    const target = join(exchangeFolder(place, exchange), `${epoch}~${number}`)
    try {
      await mkdir(dirname(target), { recursive: true })
      await rm(target, { recursive: true, force: true })
      for (const file of await readdir(at, { recursive: true })) await makeDurable(join(at, file))
      await rename(at, target)
      await makeDurable(dirname(target))
      await failpoint('rows left')
    } catch (error) {
      throw asDiskFull(error, target)
    }
  }
}

async function makeDurable(path: string): Promise<void> {
  await using handle = await open(path, 'r')
  await handle.sync()
}

function exchangeFolder({ folder }: ExchangePlace, { id }: Exchange): string {
  return join(folder, encodeURIComponent(id))
}

/** The files of each bucket that has any, in the order of their batches; what was left by no committed batch is removed. */
export async function findBuckets(
  store: Store,
  pipeline: string,
  place: ExchangePlace,
  exchange: Exchange,
): Promise<{ bucket: number; files: string[] }[]> {
  const folder = exchangeFolder(place, exchange)
  const parts = (await readdir(folder).catch(() => [])).map((name) => {
    const [epoch, batch] = name.split('~').map(Number)
    return { name, epoch: epoch ?? 0, batch: batch ?? 0 }
  })
  if (parts.length === 0) return []
  parts.sort((a, b) => a.batch - b.batch)
  const committed = await store.committed(pipeline)
  const lines = await store.ledger(pipeline, { after: (parts[0]?.batch ?? 1) - 1 })
  const epochs = new Map(lines.map(({ batch, epoch }) => [batch, epoch]))
  const files = new Map<number, string[]>()
  for (const { name, epoch, batch } of parts) {
    const own = join(folder, name)
    if (batch <= committed.batch && !epochs.has(batch)) {
      throw new MillraceError('RUN_UNFINISHED', {
        at: own,
        message: 'the ledger no longer tells whether these rows were committed',
        hint: `begin anew: millrace reset ${pipeline} --results`,
      })
    }
    if (epochs.get(batch) !== epoch) {
      await rm(own, { recursive: true })
      continue
    }
    for (const part of await readdir(own)) {
      const number = Number(part.slice(bucket.length + 1))
      const paths = (await readdir(join(own, part))).sort().map((file) => join(own, part, file))
      files.set(number, [...(files.get(number) ?? []), ...paths])
    }
  }
  return [...files].sort(([a], [b]) => a - b).map(([number, paths]) => ({ bucket: number, files: paths }))
}

/** When all of it is taken into tables. */
export async function dropExchange(place: ExchangePlace, exchange: Exchange): Promise<void> {
  await rm(exchangeFolder(place, exchange), { recursive: true, force: true })
}

/** A bucket as a range. */
export async function bucketRange(
  sql: Sql,
  exchange: Exchange,
  { bucket: number, files, run }: { bucket: number; files: string[]; run: string },
): Promise<Range> {
  const list = `[${files.map(sqlText).join(', ')}]`
  const [footers] = await sql.rows<{ rows: number }>(
    `select coalesce(sum(num_rows), 0)::double as rows from parquet_file_metadata(${list})`,
  )
  const names = exchange.columns.map(({ name }) => identifier(name)).join(', ')
  const time = exchange.time === undefined ? '_time' : `${identifier(exchange.time)} as _time`
  const own = `${exchange.ofInput ? `, ${time}` : ''}${exchange.places ? ', _row, _place, _line' : ', null::bigint as _row'}`
  const raw = exchange.columns.map(({ name }) => `${sqlText(name)}, s.${identifier(name)}`).join(', ')
  return {
    source: exchange.id,
    rows: exchange.ofInput ? (footers?.rows ?? 0) : 0,
    malformed: 0,
    bytes: 0,
    select: () => `select ${names}${own}\nfrom read_parquet(${list}, hive_partitioning = false)`,
    malformedSelect: undefined,
    where: {
      join: '',
      place: exchange.places ? 's._place' : 'null',
      line: exchange.places ? 's._line' : 'null',
      partition: "''",
      rawText: `json_object(${raw})::varchar`,
    },
    files: [],
    filesQuarantined: 0,
    positions: [{ source: exchange.id, partition: run, position: number + 1, watermark: undefined }],
    ranges: [{ run, of: exchange.into, bucket: number, rows: footers?.rows ?? 0 }],
    phases: {},
    arrivedAt: undefined,
    settles: [],
    release: async () => {},
  }
}

/**
 * The beginning of a file whose columns are to be guessed. Its rows are read by the reader that pipelines read with, so
 * that what counts as a row is said in one place.
 */
import { createReadStream } from 'node:fs'
import { copyFile, link, open, realpath, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import type { DuckSession } from '../engine/duckdb.ts'
import { MillraceError, messageOf } from '../errors.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { FileFormat } from '../plan/plan.ts'
import { packingOf } from '../sources/files/content.ts'
import { sources } from '../sources/index.ts'
import type { Range } from '../sources/source.ts'
import { type Look, lookAtParquet, lookAtText } from './sample-formats.ts'

/** So much of a sample is read, unpacked. */
export const sampleBytes = 10_000_000

export interface Sample {
  format: FileFormat
  columns: string[]
  /** Sentences about what the file has and a pipeline cannot name. */
  leftOut: string[]
  /** Rows that were read, and rows beside them that could not be. */
  rows: number
  malformed: number
  /** What was wrong with the first of those. */
  fault: string | undefined
  /** Whether the file has no more than was read. */
  whole: boolean
}

/**
 * Reads a sample into the table `cells` of this session: `column_name`, `value`, the `kind` of value the file says it is,
 * and the number `n` of rows that have this value there. Absent values are not in it. `spool` is a folder of our own that
 * DuckDB may read.
 */
export async function readSample(path: string, session: DuckSession, spool: string): Promise<Sample> {
  try {
    const stats = await stat(path)
    if (!stats.isFile()) throw new MillraceError('NO_INPUT', { message: 'it is not a file' })
    const { look, input, whole } = await lookAt(path, session, spool)
    const columns = look.columns.map(({ name, type }) => ({ name, type, nullable: true }))
    await using reader = await sources.files({
      id: 'sample',
      source: { is: 'files', folder: spool, format: look.format, columns, unknown: { is: 'count' } },
      inputs: { paths: [input], again: false },
      spool,
      sql: session,
      known: async () => new Map(),
      onProblem(problem) {
        throw problem
      },
    })
    const range = await reader.next({ rows: 1e9, bytes: sampleBytes })
    const [file] = range?.files ?? []
    if (range === undefined || file === undefined || file.state === 'quarantined') {
      throw new MillraceError('FILE_UNREADABLE', { message: file?.message ?? 'the file changes' })
    }
    try {
      const fault = await faultIn(range, session)
      if (range.rows === 0 && fault !== undefined) {
        throw new MillraceError('NO_COLUMNS', { message: `no row can be read; ${fault}` })
      }
      await fillCells(session, look, range.select(1))
      return {
        format: look.format,
        columns: columns.map(({ name }) => name),
        leftOut: look.leftOut,
        rows: range.rows,
        malformed: range.malformed,
        fault,
        whole: whole && file.state === 'done',
      }
    } finally {
      await range.release()
    }
  } catch (error) {
    throw at(path, error)
  }
}

async function lookAt(
  path: string,
  session: DuckSession,
  spool: string,
): Promise<{ look: Look; input: string; whole: boolean }> {
  const file = await realpath(path)
  const mark = await firstBytes(file)
  if (mark.toString('latin1') === 'PAR1') {
    // its columns are named at its end, and DuckDB reads nothing outside the spool
    const input = join(spool, 'sample.parquet')
    await link(file, input).catch(() => copyFile(file, input))
    const described = `describe select * from read_parquet(${sqlText(input)}, hive_partitioning = false)`
    return { look: lookAtParquet(await session.rows(described)), input, whole: true }
  }
  const { bytes, whole } = await beginning(file, mark)
  const input = join(spool, 'sample')
  await writeFile(input, bytes)
  return { look: lookAtText(bytes, whole), input, whole }
}

async function firstBytes(path: string): Promise<Buffer> {
  await using handle = await open(path)
  const first = Buffer.alloc(4)
  await handle.read(first, 0, 4, 0)
  return first
}

const unpackers = { gzip: createGunzip, zstd: createZstdDecompress }

// Whole lines, unless the file ends without one.
async function beginning(path: string, mark: Buffer): Promise<{ bytes: Buffer; whole: boolean }> {
  const packing = packingOf(mark)
  const file = createReadStream(path)
  let plain: Readable = file
  if (packing !== undefined) {
    const unpacker = unpackers[packing]()
    file.on('error', (error) => unpacker.destroy(error))
    plain = file.pipe(unpacker)
  }
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of plain) {
      chunks.push(chunk)
      size += chunk.length
      if (size > sampleBytes) break
    }
  } finally {
    file.destroy()
  }
  const bytes = Buffer.concat(chunks)
  if (size <= sampleBytes) return { bytes, whole: true }
  return { bytes: bytes.subarray(0, bytes.lastIndexOf('\n', sampleBytes) + 1 || sampleBytes), whole: false }
}

async function faultIn({ malformedSelect }: Range, session: DuckSession): Promise<string | undefined> {
  if (malformedSelect === undefined) return undefined
  const [first] = await session.rows<{ line: string; message: string }>(
    `select line, message from (${malformedSelect}) order by line limit 1`,
  )
  return first && `line ${first.line}: ${first.message}`
}

// So many columns at a time: DuckDB holds the values of some thousand rows, and a block of memory for each column.
const columnsAtATime = 200

async function fillCells(session: DuckSession, { columns, value, kindSql }: Look, select: string): Promise<void> {
  await session.run('create or replace temp table cells (column_name varchar, value varchar, kind varchar, n bigint)')
  for (let from = 0; from < columns.length; from += columnsAtATime) {
    const some = columns.slice(from, from + columnsAtATime).map(({ name }) => name)
    const names = some.map((name) => identifier(name)).join(', ')
    await session.run(`
      insert into cells
      select *
      from (
        select column_name, ${value} as value, ${kindSql(some)} as kind, count(*) as n
        from (unpivot (select ${names} from (${select})) on columns(*) into name column_name value value)
        group by all
      )
      where value is not null`)
  }
}

function at(path: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (error instanceof MillraceError) {
    const { message, hint, retry } = error
    if (error.code === 'DUCKDB_FAILED') return error
    return new MillraceError(error.code, { at: path, message, retry, ...(hint ? { hint } : {}), cause: error })
  }
  if (code === 'ENOENT') return new MillraceError('NO_INPUT', { at: path, message: 'there is no such file' })
  return new MillraceError('FILE_UNREADABLE', { at: path, message: messageOf(error), cause: error })
}

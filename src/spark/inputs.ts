/** The files of a bounded run on Spark: Spark lists them, wherever they lie, and says how they begin. */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { MillraceError } from '../errors.ts'
import { sparkName } from '../functions/spark-type.ts'
import { columnsRead, type FileFormat, type Plan, type Source } from '../plan/plan.ts'
import { matchHeader, readHeader } from '../sources/files/header-csv.ts'
import { formatOfName } from '../sources/files-for-topic.ts'
import type { FileProgress, StoredFile } from '../store/store.ts'
import type { SparkSession } from './connect.ts'
import { linesColumns, place, type SparkInput } from './source-sql.ts'

/** A file that Spark can see. */
export interface SparkFile {
  source: string
  path: string
  size: number
  mtimeNs: bigint
  format: FileFormat
}

/** Paths by source: of several sources each path says whose it is, as `source=path`. Errors: WRONG_USAGE. */
export function pathsBySource(plan: Plan, inputs: readonly string[]): Map<string, string[]> {
  const [only = '', ...others] = Object.keys(plan.sources)
  const topics = new Map(
    Object.entries(plan.sources).map(([id, source]) => [source.is === 'topic' ? source.topic : id, id]),
  )
  const paths = new Map<string, string[]>()
  for (const input of inputs) {
    const [, name = '', path = ''] = /^([^=/:]+)=(.+)$/s.exec(input) ?? []
    const named = Object.hasOwn(plan.sources, name) ? name : topics.get(name)
    const source = named ?? only
    if (named === undefined && others.length > 0) {
      throw new MillraceError('WRONG_USAGE', {
        at: plan.name,
        message: `"${input}" does not say to which of its sources it belongs`,
        hint: `write it as --input ${[...topics.keys()].map((each) => `${each}=PATH`).join(' --input ')}`,
      })
    }
    paths.set(source, [...(paths.get(source) ?? []), placeOf(named === undefined ? input : path)])
  }
  return paths
}

// A path of this machine is told whole, for Spark may have been started elsewhere.
function placeOf(path: string): string {
  return /^[a-z][a-z0-9+.-]+:\//i.test(path) ? path : resolve(path)
}

/** Errors: NO_INPUT, WRONG_USAGE. */
export async function listFiles(session: SparkSession, plan: Plan, inputs: readonly string[]): Promise<SparkFile[]> {
  const files: SparkFile[] = []
  for (const [id, paths] of pathsBySource(plan, inputs)) {
    const source = plan.sources[id]
    if (source === undefined) continue
    const view = sparkName(`${id} files`)
    const found = await listed(session, view, paths)
    for (const { path, size, modified } of found) {
      const format = source.is === 'files' ? source.format : formatOfName(path)
      const own = await stat(path, { bigint: true }).catch(() => undefined)
      // to the nanosecond where the file is one of this machine: a run without Spark knows it again
      const same = own !== undefined && own.size === size && own.mtimeNs / 1_000_000n === modified / 1000n
      files.push({ source: id, path, size: Number(size), mtimeNs: same ? own.mtimeNs : modified * 1000n, format })
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

interface Listed {
  path: string
  size: bigint
  modified: bigint
}

async function listed(session: SparkSession, view: string, paths: string[]): Promise<Listed[]> {
  try {
    await session.viewOfFiles(view, { format: 'binaryFile', paths, columns: ['path', 'length', 'modificationTime'] })
    const path = `try_url_decode(replace(regexp_replace(path, '^file:(//)?', ''), '+', '%2B'))`
    return await session.rows<Listed>(
      `select ${path} as path, length as size, unix_micros(modificationTime) as modified from ${view}`,
    )
  } catch (error) {
    if (!(error instanceof MillraceError) || !error.message.includes('PATH_NOT_FOUND')) throw error
    throw new MillraceError('NO_INPUT', {
      at: paths.join(', '),
      message: 'Spark finds no file there',
      hint: 'the path is looked up by the Spark server: is the file where that can read it?',
      cause: error,
    })
  }
}

export interface ChosenFiles {
  read: SparkFile[]
  problems: MillraceError[]
}

/** Those that were not read before: the same path, size and time is the same file. */
export function filesToRead(
  files: readonly SparkFile[],
  known: ReadonlyMap<string, StoredFile>,
  again: boolean,
): ChosenFiles {
  const chosen: ChosenFiles = { read: [], problems: [] }
  for (const file of files) {
    const stored = known.get(file.path)
    if (stored === undefined || again) chosen.read.push(file)
    else if (stored.size !== file.size || stored.mtimeNs !== file.mtimeNs) {
      chosen.problems.push(
        new MillraceError('FILE_CHANGED', {
          at: file.path,
          message: 'the file has been read before, and its size or time has changed since',
          hint: 'add --again to read it as a new file; its rows are then read from the beginning',
        }),
      )
    }
  }
  return chosen
}

export interface OpenedFiles {
  inputs: SparkInput[]
  /** Files that cannot be read at all, and why. */
  quarantined: { file: SparkFile; code: string; message: string }[]
}

/** Files in groups that are read alike. */
export async function openFiles(session: SparkSession, plan: Plan, files: readonly SparkFile[]): Promise<OpenedFiles> {
  const opened: OpenedFiles = { inputs: [], quarantined: [] }
  const groups = new Map<string, SparkFile[]>()
  for (const file of files) {
    const key = JSON.stringify([file.source, file.format])
    groups.set(key, [...(groups.get(key) ?? []), file])
  }
  for (const [, group] of groups) {
    const [{ source: id, format } = { source: '', format: { is: 'json lines' } as FileFormat }] = group
    const source = plan.sources[id]
    if (source === undefined) continue
    const input: SparkInput = { source: id, format, paths: group.map(({ path }) => path) }
    if (format.is === 'csv' && format.header !== false) await openCsv(session, source, group, input, opened)
    else if (format.is === 'parquet') opened.inputs.push(await openParquet(session, source, input))
    else opened.inputs.push(input)
  }
  return opened
}

async function openCsv(
  session: SparkSession,
  source: Source,
  group: SparkFile[],
  input: SparkInput,
  opened: OpenedFiles,
): Promise<void> {
  if (input.format.is !== 'csv') return
  const view = sparkName(`${input.source} first lines`)
  await session.viewOfFiles(view, { format: 'text', paths: input.paths, columns: linesColumns(input) })
  const firsts = await session.rows<{ path: string; line: string }>(`select
  ${place} as path,
  min_by(value, _n) as line
from (select _file, value, monotonically_increasing_id() as _n from ${view})
where not value rlike '^\\\\r?\\\\z'
group by _file`)
  const byHeader = new Map<string, SparkInput>()
  for (const file of group) {
    const line = firsts.find(({ path }) => path === file.path)?.line ?? ''
    const header = readHeader(Buffer.from(`${line}\n`), input.format, true)
    const bad = (code: string, message: string): void => {
      opened.quarantined.push({ file, code, message })
    }
    if (line === '') bad('EMPTY_FILE', 'the file is empty')
    else if (header.is !== 'header')
      bad(
        header.is === 'bad' ? header.code : 'BAD_HEADER',
        header.is === 'bad' ? header.message : 'the header does not end',
      )
    else {
      const match = matchHeader(header.names, columnsRead(source), source.unknown)
      if (match.is === 'mismatch') bad('HEADER_MISMATCH', match.message)
      else {
        const text = line.replace(/\r$/, '')
        const same = byHeader.get(text) ?? { ...input, paths: [], header: { line: text, names: header.names } }
        same.paths.push(file.path)
        byHeader.set(text, same)
      }
    }
  }
  opened.inputs.push(...byHeader.values())
}

/** Of many files one schema: all columns that any of them has. Errors: NO_INPUT. */
export async function openParquet(session: SparkSession, source: Source, input: SparkInput): Promise<SparkInput> {
  const view = sparkName(`${input.source} parquet`)
  await session.viewOfFiles(view, {
    format: 'parquet',
    paths: input.paths,
    options: { mergeSchema: 'true' },
    columns: ['*'],
  })
  const columns = await session.columnsOf(`select * from ${view}`)
  const match = matchHeader(
    columns.map(({ name }) => name),
    columnsRead(source),
    source.unknown,
  )
  if (match.is === 'mismatch') {
    throw new MillraceError('NO_INPUT', {
      at: input.paths.slice(0, 3).join(', '),
      message: `the Parquet files have not the columns that the source expects: ${match.message}`,
    })
  }
  return { ...input, columns }
}

/** What the store is told of the files of a run. */
export function progressOf(
  files: readonly SparkFile[],
  quarantined: OpenedFiles['quarantined'],
  now: Date,
): FileProgress[] {
  return files.map(({ source, path, size, mtimeNs }) => {
    const bad = quarantined.find(({ file }) => file.path === path)
    return {
      source,
      id: path,
      path,
      size,
      mtimeNs,
      inode: 0n,
      state: bad === undefined ? 'done' : 'quarantined',
      bytesDone: size,
      linesDone: 0,
      rowsDone: 0,
      ...(bad === undefined ? {} : { code: bad.code, message: bad.message }),
      arrivedAt: now,
    }
  })
}

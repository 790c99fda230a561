/** What is stored of the files a source has taken. */
import type { Client, Queries } from './connection.ts'
import { jsonText } from './json-text.ts'
import type { BatchCommit, FileProgress, StoredFile } from './store.ts'

interface FileRow {
  source: string
  id: string
  path: string
  size: number
  mtime_ns: string
  inode: string
  state: FileProgress['state']
  bytes_done: number
  lines_done: number
  rows_done: number
  code: string | null
  message: string | null
  arrived_at: Date
  batch: number
}

function storedFile(row: FileRow): StoredFile {
  return {
    source: row.source,
    id: row.id,
    path: row.path,
    size: row.size,
    mtimeNs: BigInt(row.mtime_ns),
    inode: BigInt(row.inode),
    state: row.state,
    bytesDone: row.bytes_done,
    linesDone: row.lines_done,
    rowsDone: row.rows_done,
    ...(row.code === null ? {} : { code: row.code }),
    ...(row.message === null ? {} : { message: row.message }),
    arrivedAt: row.arrived_at,
    batch: row.batch,
  }
}

export async function findFiles(
  database: Queries,
  pipeline: string,
  source: string,
  ids: string[],
): Promise<Map<string, StoredFile>> {
  if (ids.length === 0) return new Map()
  const { rows } = await database.query<FileRow>(
    'select * from millrace.files where pipeline = $1 and source = $2 and id = any($3)',
    [pipeline, source, ids],
  )
  return new Map(rows.map((row) => [row.id, storedFile(row)]))
}

export async function filesOfBatch(database: Queries, pipeline: string, batch: number): Promise<StoredFile[]> {
  const { rows } = await database.query<FileRow>(
    'select * from millrace.files where pipeline = $1 and batch = $2 order by id',
    [pipeline, batch],
  )
  return rows.map(storedFile)
}

/** How far a batch has come in its files. */
export async function writeFiles(client: Client, batch: BatchCommit): Promise<void> {
  if (batch.files.length === 0) return
  await client.query(
    `
    insert into millrace.files (
      pipeline, source, id, path, size, mtime_ns, inode, state, bytes_done, lines_done, rows_done, code, message, arrived_at, batch)
    select $1, source, id, path, size, mtime_ns, inode, state, bytes_done, lines_done, rows_done, code, message, arrived_at, $2
    from   jsonb_to_recordset($3) as file(
             source text, id text, path text, size bigint, mtime_ns numeric, inode numeric, state text, bytes_done bigint,
             lines_done bigint, rows_done bigint, code text, message text, arrived_at timestamptz)
    on conflict (pipeline, source, id) do update
    set    path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns, inode = excluded.inode,
           state = excluded.state, bytes_done = excluded.bytes_done, lines_done = excluded.lines_done,
           rows_done = excluded.rows_done, code = excluded.code, message = excluded.message,
           arrived_at = excluded.arrived_at, batch = excluded.batch`,
    [batch.pipeline, batch.batch, jsonText(batch.files.map(fileRecord))],
  )
}

// 64-bit numbers go as text: JSON's would lose digits.
function fileRecord(file: FileProgress): Record<string, unknown> {
  return {
    source: file.source,
    id: file.id,
    path: file.path,
    size: file.size,
    mtime_ns: String(file.mtimeNs),
    inode: String(file.inode),
    state: file.state,
    bytes_done: file.bytesDone,
    lines_done: file.linesDone,
    rows_done: file.rowsDone,
    code: file.code ?? null,
    message: file.message ?? null,
    arrived_at: file.arrivedAt.toISOString(),
  }
}

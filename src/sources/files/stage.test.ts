import assert from 'node:assert/strict'
import { lstat, mkdtempDisposable, open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Duck } from '../../engine/duckdb.ts'
import { files, text } from '../../pipeline.ts'
import type { FilesSource } from '../../plan/plan.ts'
import type { Claim } from './claims.ts'
import { ParquetRows } from './parquet-rows.ts'
import type { RowStage } from './stage.ts'
import { TextRows } from './text-rows.ts'

const plenty = { rows: 1000, bytes: 1e9 }

// A file that is bad, and changes while it is read, is taken back too.
test('what is taken back is what the last file left, and nothing of the one before', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-stage-'))
  await using duck = await Duck.open({
    folders: [folder.path],
    temporary: join(folder.path, 'temporary'),
    memoryLimitMb: 96,
    threads: 1,
  })
  using sql = await duck.connect()
  const claimed = async (path: string): Promise<Claim> => {
    const { size, mtimeNs, ino } = await lstat(path, { bigint: true })
    const done = { bytesDone: 0, linesDone: 0, rowsDone: 0 }
    return { id: path, at: path, path, size: Number(size), mtimeNs, inode: ino, arrivedAt: new Date(), ...done }
  }
  const stageOf = (format: 'csv' | 'json lines' | 'parquet'): RowStage => {
    // as: files() makes a source of files
    const source = files('in', { format, columns: { id: text() } }).source as FilesSource
    const options = { id: 'files', source, spool: folder.path, sql, name: `range-${format}` }
    return format === 'parquet' ? new ParquetRows(options) : new TextRows(options)
  }
  const paths = { csv: 'good.csv', 'json lines': 'good.jsonl', parquet: 'good.parquet' }
  await writeFile(join(folder.path, paths.csv), 'id\na\nb\n')
  await writeFile(join(folder.path, paths['json lines']), '{"id":"a"}\n{"id":"b"}\n')
  await sql.run(`copy (select unnest(['a', 'b']) as id) to '${join(folder.path, paths.parquet)}' (format parquet)`)
  const bad = join(folder.path, 'bad')
  await writeFile(bad, '[{"id":"x"}]\n')

  for (const format of ['csv', 'json lines', 'parquet'] as const) {
    const stage = stageOf(format)
    const read = async (path: string, file: number): Promise<string> => {
      await using handle = await open(path)
      return (await stage.read(await claimed(path), handle, file, plenty)).is
    }
    const rows = async (): Promise<unknown> => {
      await stage.close()
      const select = stage.rowsSql()
      return select === undefined ? [] : (await sql.rows(`select id from (${select}) order by id`)).map(({ id }) => id)
    }
    const good = join(folder.path, paths[format])
    assert.equal(await read(good, 0), 'read', format)
    assert.equal(await read(bad, 1), 'bad', format)
    await stage.takeBack()
    assert.deepEqual(await rows(), ['a', 'b'], format)
    await stage.release()

    const another = stageOf(format)
    await using handle = await open(good)
    assert.equal((await another.read(await claimed(good), handle, 0, plenty)).is, 'read')
    await another.takeBack()
    await another.close()
    const select = another.rowsSql()
    assert.deepEqual(select === undefined ? [] : await sql.rows(`from (${select})`), [], format)
    await another.release()
  }
})

import assert from 'node:assert/strict'
import { mkdtempDisposable, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Duck } from './duckdb.ts'
import { printRows } from './row-file.ts'

test('columns may be called as functions of SQL are, and their empty texts are no nulls', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-rows-'))
  await using duck = await Duck.open({
    folders: [folder.path],
    temporary: join(folder.path, 't'),
    memoryLimitMb: 96,
    threads: 1,
  })
  using session = await duck.connect()
  const columns = ['user', 'current_date', 'order', 'Größe', 'a b', 'null', '"']
  const selects = columns.map((name) => `'' as "${name.replaceAll('"', '""')}"`)
  const printed = await printRows(session, folder.path, 'rows', {
    select: `select ${selects.join(', ')}, null as n`,
    columns: [...columns, 'n'],
    quoted: columns,
  })
  assert.equal(await readFile(printed.path, 'utf8'), `${'"",'.repeat(columns.length)}\n`)
})

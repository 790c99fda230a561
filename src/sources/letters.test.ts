import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openTestDuckdb } from '../../test/duckdb.ts'
import { files, text } from '../pipeline.ts'
import type { DeadLetter } from '../store/store.ts'
import { openLettersReader } from './letters.ts'

test('letters are read again as they are, however long and whatever is in them', async () => {
  await using db = await openTestDuckdb()
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-letters-'))
  const notes = [null, '', 'a "quoted", \\N\n\r\ttext', 'x'.repeat(3_000_000), 'last']
  const letter: DeadLetter = {
    id: 1,
    pipeline: 'test',
    batch: 1,
    source: 'files',
    place: "it's here.csv",
    line: 2,
    stage: 'validate',
    code: 'EMPTY',
    columnName: null,
    message: '',
    raw: 'raw',
    rawBytes: null,
    fields: null,
    rejectedAt: new Date(),
    settled: null,
    settledAt: null,
    settledBy: null,
  }
  await using reader = await openLettersReader({
    source: files('in', { format: 'csv', columns: { id: text(), note: text().optional() } }).source,
    open: async () => notes.map((note, i) => ({ ...letter, id: i, fields: { id: String(i), note } })),
    set: {},
    spool: folder.path,
  })
  const range = await reader.next({ rows: 10, bytes: 1e9 })
  const { rows } = await db.query(`select note from (${range?.select(1)}) order by _row`)
  assert.deepEqual(
    rows.map(([note]) => note),
    notes,
  )
})

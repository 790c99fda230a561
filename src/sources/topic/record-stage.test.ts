import assert from 'node:assert/strict'
import { mkdtempDisposable, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Duck } from '../../engine/duckdb.ts'
import { columnSql } from '../../operators/validate.ts'
import type { TopicSource } from '../../plan/plan.ts'
import { readFields } from '../../store/csv-rows.ts'
import type { Sql } from '../source.ts'
import { RecordStage, type RecordStageOptions } from './record-stage.ts'
import { SpareBuffers } from './spare-buffers.ts'
import { blankRecord } from './topic.ts'

const source: TopicSource = {
  is: 'topic',
  topic: 'chat',
  whenLost: 'fail',
  columns: ['n', 'text'].map((name) => ({ name, type: { is: 'text' }, nullable: true })),
}

function stageIn(spool: string, sql: Sql, more: Partial<RecordStageOptions> = {}): RecordStage {
  return new RecordStage({
    id: 'chat',
    source,
    spool,
    sql,
    name: 'range',
    limits: { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY },
    until: undefined,
    buffers: new SpareBuffers(),
    unread: [],
    onReleased: () => {},
    ...more,
  })
}

test('a column that no step reads is looked at like the others, and told of where a letter asks', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-stage-'))
  const temporary = join(folder.path, 'duckdb')
  await using duck = await Duck.open({ folders: [folder.path], temporary, memoryLimitMb: 256, threads: 1 })
  using session = await duck.connect()
  const stage = stageIn(folder.path, session, { unread: ['text'] })
  const records = [
    '{"n":"1","text":"one, \\"and\\""}',
    '{"text":{},"n":"2"}',
    '{"n":"3"}',
    '{"text":7.0,"n":"4"}',
    '{"n":"5","text":""}',
  ]
  const at = blankRecord(0)
  for (const [offset, record] of records.entries()) {
    const bytes = Buffer.from(record)
    Object.assign(at, { partition: 2, offset, valueFrom: 0, valueTo: bytes.length })
    stage.take(bytes, at)
  }
  assert.equal(stage.malformed, 1, 'an object in the place of a text')
  const { select, where, fetchRaw } = await stage.finish([{ partition: 2, from: 0, to: records.length }], {})
  assert.deepEqual(await session.rows(`select * exclude (_row, _file, _line) from (${select(1)})`), [
    { n: '1' },
    { n: '3' },
    { n: '4' },
    { n: '5' },
  ])
  const staged = `(${select(1)})`
  await fetchRaw?.(session, staged, `select _row from ${staged} where n <> '3'`)
  // another letter may tell of the same rows
  await fetchRaw?.(session, staged, `select _row from ${staged}`)
  const asked = `select s.n, ${columnSql(where, 'n')} as same, ${columnSql(where, 'text')} as text, ${where.rawText} as raw`
  assert.deepEqual(await session.rows(`${asked} from ${staged} s ${where.join} order by n`), [
    { n: '1', same: '1', text: 'one, "and"', raw: records[0] },
    { n: '3', same: '3', text: null, raw: records[2] },
    { n: '4', same: '4', text: '7.0', raw: records[3] },
    { n: '5', same: '5', text: '', raw: records[4] },
  ])
  await stage.release()
})

test('few rows are handed over as texts where that is asked for, and say the same as a file of them', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-stage-'))
  const temporary = join(folder.path, 'duckdb')
  await using duck = await Duck.open({ folders: [folder.path], temporary, memoryLimitMb: 256, threads: 1 })
  using session = await duck.connect()
  const records = [
    { n: 'a,"b"', text: 'two\nlines\r\n' },
    { n: '', text: null },
    { n: '\ufeffmark', text: 'ß 🦆' },
    { n: null, text: '\\.' },
  ]
  const read = async (asTexts: boolean, rows: readonly object[]): Promise<{ made: boolean; rows: unknown[] }> => {
    const stage = stageIn(folder.path, session)
    const at = blankRecord(0)
    for (const [offset, record] of rows.entries()) {
      const bytes = Buffer.from(JSON.stringify(record))
      Object.assign(at, { partition: 1, offset, valueFrom: 0, valueTo: bytes.length })
      stage.take(bytes, at)
    }
    const { texts, select } = await stage.finish([{ partition: 1, from: 0, to: rows.length }], {}, asTexts)
    const made = (await readdir(folder.path)).some((name) => name.endsWith('.csv'))
    if (texts !== undefined) {
      const columns = texts.columns.map((column) => `${column} varchar`)
      await session.run(`create or replace table main.given (${columns.join(', ')})`)
      await session.append('main.given', await readFields(texts))
    }
    const found = await session.rows(`select * from (${select(1, texts && 'main.given')}) order by _row`)
    await stage.release()
    return { made, rows: found }
  }
  const [texts, file] = [await read(true, records), await read(false, records)]
  assert.deepEqual([texts.made, file.made], [false, true])
  assert.equal(texts.rows.length, records.length)
  assert.deepEqual(texts.rows, file.rows)
  // more are not
  assert.equal((await read(true, Array(1001).fill({ n: '1', text: null }))).made, true)
  assert.equal((await read(true, [{ n: 'x'.repeat(200_000), text: null }])).made, true)
})

test('ranges of many megabytes share their buffers, and each keeps its rows and the text of its records', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-stage-'))
  const temporary = join(folder.path, 'duckdb')
  await using duck = await Duck.open({ folders: [folder.path], temporary, memoryLimitMb: 256, threads: 1 })
  using session = await duck.connect()
  const buffers = new SpareBuffers()
  const records = 60_000
  const textOf = (range: number, n: number): string => `${range}/${n} `.repeat(20)

  const fill = async (range: number): Promise<RecordStage> => {
    const stage = stageIn(folder.path, session, { name: `range-${range}`, buffers })
    const at = blankRecord(0)
    for (let n = 0; n < records; n++) {
      const bytes = Buffer.from(JSON.stringify({ n: String(n), text: textOf(range, n) }))
      Object.assign(at, { partition: n % 3, offset: n, valueFrom: 0, valueTo: bytes.length })
      stage.take(bytes, at)
      if (stage.full) await stage.flush()
    }
    return stage
  }
  const judge = async (stage: RecordStage, range: number): Promise<void> => {
    const ranges = [0, 1, 2].map((partition) => ({ partition, from: 0, to: records }))
    const { select, fetchRaw } = await stage.finish(ranges, {})
    const [found] = await session.rows(
      `select count(*)::int as rows, count(distinct n)::int as numbers, bool_and(text = repeat('${range}/' || n || ' ', 20)) as "asWritten"
from (${select(1)})`,
    )
    assert.deepEqual(found, { rows: records, numbers: records, asWritten: true })
    // the first and the last of a block of places, and some between
    const wanted = [0, 1, 4095 * 3, 4096 * 3, 4096 * 3 + 1, 31_415, records - 1]
    const staged = `(select *, _line::int % 3 as partition from (${select(1)}))`
    await fetchRaw?.(session, staged, `select _row from ${staged} where _line in (${wanted.join(', ')})`)
    const raw = await session.rows<{ raw: string }>(`from "range-${range}-raw" order by _row & 16777215`)
    assert.deepEqual(
      raw.map((row) => JSON.parse(row.raw).text),
      wanted.map((n) => textOf(range, n)),
    )
  }

  const [first, second] = [await fill(1), await fill(2)]
  await judge(first, 1)
  await first.release()
  const third = await fill(3)
  await judge(second, 2)
  await judge(third, 3)
  await second.release()
  await third.release()
})

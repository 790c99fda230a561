import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Duck } from '../../engine/duckdb.ts'
import type { TopicSource } from '../../plan/plan.ts'
import { RecordStage } from './record-stage.ts'
import { SpareBuffers } from './spare-buffers.ts'
import { blankRecord } from './topic.ts'

const source: TopicSource = {
  is: 'topic',
  topic: 'chat',
  whenLost: 'fail',
  columns: ['n', 'text'].map((name) => ({ name, type: { is: 'text' }, nullable: true })),
}

test('ranges of many megabytes share their buffers, and each keeps its rows and the text of its records', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-stage-'))
  const temporary = join(folder.path, 'duckdb')
  await using duck = await Duck.open({ folders: [folder.path], temporary, memoryLimitMb: 256, threads: 1 })
  using session = await duck.connect()
  const buffers = new SpareBuffers()
  const records = 60_000
  const textOf = (range: number, n: number): string => `${range}/${n} `.repeat(20)

  const fill = async (range: number): Promise<RecordStage> => {
    const stage = new RecordStage({
      id: 'chat',
      source,
      spool: folder.path,
      sql: session,
      name: `range-${range}`,
      limits: { rows: records, bytes: Number.POSITIVE_INFINITY },
      until: undefined,
      buffers,
      onReleased: () => {},
    })
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
    await fetchRaw?.(staged, `select _row from ${staged} where _line in (${wanted.join(', ')})`)
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

import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { pipeline, table, text, topic } from '../pipeline.ts'
import { readFields } from '../store/csv-rows.ts'
import { testPipeline } from '../testing/index.ts'
import { Duck } from './duckdb.ts'
import { type Asked, type Printed, Printing } from './printing.ts'

test('columns may be called as functions of SQL are, and their empty texts are no nulls', async () => {
  const names = ['user', 'current_date', 'order', 'null', 'select', 'value']
  const columns = { ...Object.fromEntries(names.map((name) => [name, text()])), absent: text().optional() }
  await using test = await testPipeline(pipeline('names').from(topic('names', { columns })).into(table('names')))
  const row = Object.fromEntries(names.map((name) => [name, '']))
  await test.feed('names', [row])
  assert.deepEqual(test.rows('names'), [{ ...row, absent: null }])
})

describe('rows are printed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-printing-'))
  const duck = await Duck.open({ folders: [folder], temporary: join(folder, 'temp'), memoryLimitMb: 300, threads: 2 })
  const session = await duck.connect()
  after(async () => {
    session.close()
    await duck[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  const print = async (few: boolean, ...asked: Asked[]): Promise<Printed[]> => {
    const printing = new Printing({ session, spool: folder, few })
    const printed = asked.map((each) => printing.add(each))
    await printing.print()
    return printed
  }
  const texts: Asked = {
    name: 'texts',
    select: `select * from (values (3, 'a,"b"', 1.5), (0, chr(65279) || 'mark', 2), (1, '', null), (2, null, 1e100), (4, e'two\\nlines', 'nan'::double)) t(n, text, number) order by n`,
    columns: ['n', 'text', 'number'],
    quoted: ['text'],
  }
  const others: Asked = { name: 'others', select: `select 'x' as only`, columns: ['only'], quoted: ['only'] }
  const none: Asked = { name: 'none', select: 'select 1 as a, 2 as b where false', columns: ['a', 'b'], quoted: [] }
  const fields = [
    ['0', '\ufeffmark', '2.0'],
    ['1', '', null],
    ['2', null, '1e+100'],
    ['3', 'a,"b"', '1.5'],
    ['4', 'two\nlines', 'nan'],
  ]

  for (const few of [true, false]) {
    test(`as ${few ? 'texts' : 'files'}, in their order, and all that is asked at once`, async () => {
      const printed = await print(few, texts, none, others)
      const [ofTexts, ofNone, ofOthers] = await Promise.all(printed.map(readFields))
      assert.deepEqual([ofTexts, ofNone, ofOthers], [fields, [], [['x']]])
      assert.deepEqual(
        printed.map(({ rows, csv }) => [rows, 'text' in csv]),
        [
          [5, few],
          [0, few],
          [1, few],
        ],
      )
      for (const each of printed) await each.release()
      assert.deepEqual(
        (await readdir(folder)).filter((name) => name.endsWith('.csv')),
        [],
      )
    })
  }

  test('as files where there are more than was thought', async () => {
    const many: Asked = { ...others, name: 'many', select: 'select i::varchar as only from range(10000) t(i)' }
    const [first, second] = await print(true, many, texts)
    assert.ok(first !== undefined && second !== undefined)
    assert.deepEqual(
      [first, second].map(({ rows, csv }) => [rows, 'path' in csv]),
      [
        [10_000, true],
        [5, true],
      ],
    )
    assert.deepEqual(await readFields(second), fields)
    for (const each of [first, second]) await each.release()
  })

  test('as files where their texts are longer than was thought', async () => {
    const long: Asked = { ...others, name: 'long', select: `select repeat('x', 1000000) as only from range(20)` }
    const [printed] = await print(true, long)
    assert.ok(printed !== undefined && 'path' in printed.csv)
    assert.deepEqual(await readFields(printed), Array(20).fill(['x'.repeat(1_000_000)]))
    await printed.release()
  })

  test('of nothing that is asked', async () => assert.deepEqual(await print(true), []))
})

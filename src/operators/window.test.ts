import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Bench, openBench, randomFrom } from '../../test/histories.ts'
import { windowsWith } from '../../test/reference-windows.ts'
import { type Given, runWindows } from '../../test/window-run.ts'
import { count, countDistinct, deviation, max, mean, sum, top } from '../functions/aggregate.ts'
import {
  type EventTimeOptions,
  type Flow,
  integer,
  pipeline,
  table,
  text,
  timestamp,
  topic,
  type WindowOptions,
} from '../pipeline.ts'
import type { WindowStep } from '../plan/plan.ts'
import {
  addedEdges,
  addedNumbers,
  addedTo,
  edgesSql,
  edgesSuffix,
  firstOpenPane,
  mayClose,
  paneSets,
  panesOf,
  setSuffix,
  type WindowRun,
  windowRelations,
  windowStateSql,
} from './window.ts'

let bench: Bench
before(async () => {
  bench = await openBench()
})
after(async () => await bench[Symbol.asyncDispose]())

const columns = { at: timestamp().orEpochMilliseconds(), who: text(), amount: integer().optional() }
type Kinds = { at: 'timestamp'; who: 'text'; amount: 'integer' }

const chat = (more: Partial<EventTimeOptions<Kinds>> = {}) =>
  topic('chat', { columns, eventTime: { column: 'at', ...more } })

/** Rows of the source `chat` at these milliseconds, or at moments as they are written. */
const rows = (...given: [at: number | string, amount?: number | string, who?: string][]): Given => ({
  chat: given.map(([at, amount = 1, who = 'a']) => ({ at: String(at), who, amount: String(amount) })),
})

const counted = (name: string, options: Partial<WindowOptions<'who'>>, more?: Partial<EventTimeOptions<Kinds>>) =>
  pipeline(name)
    .from(chat(more))
    .window({ size: 10, by: 'who', emit: 'close', ...options }, (row) => ({ n: count(), total: sum(row.amount) }))
    .into(table(name.replaceAll('-', '_')))

const inMs = (stamp: string | null): number => Date.parse((stamp ?? '').replace(' ', 'T').replace('+00', 'Z'))

async function windowsOf(flow: Pick<Flow<{ who: 'text' }>, 'plan'>, given: Given[], final = true) {
  const ran = await runWindows(bench, flow.plan, given, { final })
  const found = ran.rows(flow.plan.name.replaceAll('-', '_'), 'window_start', 'window_end', 'n', 'final')
  return found.map(([start = '', end = '', n, isFinal]) => [inMs(start), inMs(end), Number(n), isFinal === 'true'])
}

describe('a window', () => {
  test('is half-open: what happens at its end belongs to the next one', async () => {
    const given = rows([0], ['1970-01-01T00:00:00.009999Z'], [10], [19])
    assert.deepEqual(await windowsOf(counted('half-open', {}), [given]), [
      [0, 10, 2, true],
      [10, 20, 2, true],
    ])
  })

  test('begins at a multiple of the slide, before 1970 too', async () => {
    const given = rows([-1], ['1969-12-31T23:59:59.999999Z'], [-10], [-11], [0])
    assert.deepEqual(await windowsOf(counted('before', {}), [given]), [
      [-20, -10, 1, true],
      [-10, 0, 3, true],
      [0, 10, 1, true],
    ])
  })

  test('need not be a multiple of its slide long', async () => {
    assert.deepEqual(await windowsOf(counted('odd', { slide: 4 }), [rows([9])]), [
      [0, 10, 1, true],
      [4, 14, 1, true],
      [8, 18, 1, true],
    ])
  })

  test('is handed on once, when it closes, and not before by any worker', async () => {
    const given = [rows([1], [2], [9]), rows([10]), rows([25]), rows([25], [31])]
    assert.deepEqual(await windowsOf(counted('once', {}), given, false), [
      [0, 10, 3, true],
      [10, 20, 1, true],
      [20, 30, 2, true],
    ])
  })

  test('that is open is handed on as it changes, and replaced by what it ends as', async () => {
    const flow = pipeline('changing')
      .from(chat())
      .window({ size: 10, by: 'who', emit: { update: 0 } }, () => ({ n: count() }))
      .into(table('changing', { key: ['who', 'window_start'] }))
    assert.deepEqual(await windowsOf(flow, [rows([1], [2])], false), [[0, 10, 2, false]])
    assert.deepEqual(await windowsOf(flow, [rows([1], [2]), rows([9], [10])], false), [
      [0, 10, 3, true],
      [10, 20, 1, false],
    ])
  })

  test('may count nothing of one of its sources', async () => {
    const flow = pipeline('nothing')
      .from(chat())
      .window({ size: 10, by: 'who', emit: 'close' }, () => ({}))
      .alongside(topic('other', { columns, eventTime: { column: 'at' } }), () => ({ n: count() }))
      .into(table('nothing'))
    const given = { ...rows([1], [2]), other: [{ at: '12', who: 'a', amount: null }] }
    assert.deepEqual(await windowsOf(flow, [given]), [
      [0, 10, 0, true],
      [10, 20, 1, true],
    ])
  })

  test('over one of two sources closes when time moves with a batch of the other', async () => {
    const other = topic('other', { columns, eventTime: { column: 'at' } })
    const flow = pipeline('beside')
      .from(chat())
      .window({ size: 10, by: 'who', emit: 'close' }, () => ({ n: count() }))
      .alongside(
        other,
        (more) =>
          more.also((branch) =>
            branch.window({ size: 10, by: 'who', emit: 'close' }, () => ({ n: count() })).into(table('beside_other')),
          ),
        () => ({ m: count() }),
      )
      .into(table('beside'))
    const at = (ms: number) => ({ at: String(ms), who: 'a', amount: null })
    const given = [
      { ...rows([1]), other: [at(1), at(2), at(30)] },
      { ...rows([12]), other: [] },
      { ...rows([35]), other: [at(40)] },
    ]
    const ran = await runWindows(bench, flow.plan, given)
    assert.deepEqual(
      ran.rows('beside_other', 'window_start', 'n').map(([start = '', n]) => [inMs(start), Number(n)]),
      [[0, 2]],
    )
  })
})

describe('a row', () => {
  const late = (name: string, options: Partial<WindowOptions<'who'>>) => counted(name, options, { outOfOrder: 5 })

  test('is on time while one of its windows is open, and is in that one alone', async () => {
    const flow = late('partly', { slide: 5 })
    const ran = await runWindows(bench, flow.plan, [rows([1], [17]), rows([8])], { final: true })
    // the watermark was at 12: [0, 10) was closed, [5, 15) was open
    assert.deepEqual(
      ran.rows('partly', 'window_start', 'n').map(([start = '', n]) => [inMs(start), Number(n)]),
      [
        [-5, 1],
        [0, 1],
        [5, 1],
        [10, 1],
        [15, 1],
      ],
    )
    assert.deepEqual(ran.database.lateRows, [])
  })

  test('is late when all of its windows are closed: a window that ends at the watermark is', async () => {
    const flow = late('late', {})
    const ran = await runWindows(bench, flow.plan, [rows([1], [15]), rows([9], ['1970-01-01T00:00:00.0045Z'], [10])])
    assert.deepEqual(
      ran.database.lateRows.map((row) => [row['place'], row['event_time'], row['window_start'], row['late_by_ms']]),
      [
        ['chat/0:2', '1970-01-01 00:00:00.009+00', '1970-01-01 00:00:00+00', '1'],
        ['chat/0:3', '1970-01-01 00:00:00.0045+00', '1970-01-01 00:00:00+00', '5'],
      ],
    )
    assert.deepEqual(
      ran.ledger.filter(({ rowsIn }) => rowsIn > 0).map(({ written, late }) => [written, late]),
      [
        [2, 0],
        [1, 2],
      ],
    )
    assert.deepEqual(ran.rows('late', 'n'), [['1']])
  })

  test('that is late is dropped and counted, or a reason to stop, as the pipeline says', async () => {
    const given = [rows([1], [15]), rows([9])]
    const dropped = await runWindows(bench, late('dropped', { late: 'drop' }).plan, given)
    assert.deepEqual(dropped.database.lateRows, [])
    assert.equal(
      dropped.ledger.reduce((sum, line) => sum + line.late, 0),
      1,
    )
    await assert.rejects(runWindows(bench, late('failed', { late: 'fail' }).plan, given), { code: 'LATE_ROW' })
  })

  test('of a bounded run is judged by where the watermark was when the run began', async () => {
    const ran = await runWindows(bench, late('bounded', {}).plan, [rows([99], [1], [50], [2])], {
      rows: 1,
      final: true,
    })
    assert.deepEqual(ran.database.lateRows, [])
    assert.deepEqual(
      ran.rows('bounded', 'window_start', 'n').map(([start = '', n]) => [inMs(start), Number(n)]),
      [
        [0, 2],
        [50, 1],
        [90, 1],
      ],
    )
  })

  test('after the end is late', async () => {
    const flow = counted('ended', {})
    const ran = await runWindows(bench, flow.plan, [rows([1])], { final: true })
    assert.deepEqual(ran.rows('ended', 'n'), [['1']])
    assert.equal(ran.database.pipelines.get('ended')?.paneNumbers.size, 0)
  })

  test('with a value too large to be added up is a dead letter, and stops nothing', async () => {
    const smallest = '-9223372036854775808'
    const flow = pipeline('large')
      .from(chat())
      .window({ size: 10, by: 'who', emit: 'close' }, (row) => ({
        n: count(),
        total: sum(row.amount),
        average: mean(row.amount),
        spread: deviation(row.amount),
      }))
      .into(table('large'))
    const given = rows([1, smallest], [2, '-999999999999999'], [2, '-999999999999999'], [3, '9223372036854775807'])
    const ran = await runWindows(bench, flow.plan, [given], { final: true })
    assert.deepEqual(
      ran.database.deadLetters.map(({ line, code, stage }) => [line, code, stage]),
      [
        [0, 'OUT_OF_RANGE', 'window'],
        [3, 'OUT_OF_RANGE', 'window'],
      ],
    )
    assert.deepEqual(ran.rows('large', 'n', 'total', 'average', 'spread'), [
      ['2', '-1999999999999998', '-999999999999999.0', '0.0'],
    ])
  })

  test('with a key that no index holds is a dead letter, and stops nothing', async () => {
    const long = 'ü'.repeat(2000)
    const ran = await runWindows(bench, counted('long', {}).plan, [rows([1, 1, long], [2, 1, 'a'])], { final: true })
    assert.deepEqual(ran.rows('long', 'who', 'n'), [['a', '1']])
    assert.deepEqual(
      ran.database.deadLetters.map(({ line, code, stage, columnName }) => [line, code, stage, columnName]),
      [[0, 'KEY_TOO_LONG', 'window', 'who']],
    )
  })
})

test('what a table has of a window already is no duplicate of the input', async () => {
  const flow = pipeline('first')
    .from(chat())
    .window({ size: 10, by: 'who', emit: 'close' }, () => ({ n: count() }))
    .into(table('first', { oncePer: 'who' }))
  const ran = await runWindows(bench, flow.plan, [rows([1], [2], [15]), rows([25])], { final: true })
  assert.deepEqual(ran.rows('first', 'n'), [['2']])
  assert.deepEqual(
    ran.ledger.map(({ rowsIn, written, duplicates }) => [rowsIn, written, duplicates]),
    [
      [3, 3, 0],
      [0, 0, 0],
      [1, 1, 0],
      [0, 0, 0],
    ],
  )
})

test('a window that its table refuses is a dead letter as JSON, and is judged with the others all the same', async () => {
  const flow = pipeline('refused')
    .from(chat())
    .window({ size: 10, by: 'who', emit: 'close' }, () => ({ n: count() }))
    .into(table('refused'))
    .anomalies({ of: { n: { spike: 'up' } }, by: 'who', over: 2, threshold: 1 })
    .into(table('moments'))
  const given = [rows([1], [11], [12], [21], [22], [23], [24])]
  const takes = { refused: ({ n }: Record<string, string | null>) => n !== '2' }
  const ran = await runWindows(bench, flow.plan, given, { final: true, takes })
  assert.deepEqual(ran.rows('refused', 'n'), [['1'], ['4']])
  assert.deepEqual(ran.rows('moments', 'value', 'z_score'), [['4.0', '5.0']])
  assert.deepEqual(
    ran.database.deadLetters.map(({ stage, code, line, fields, raw }) => [
      stage,
      code,
      line,
      fields,
      JSON.parse(raw).n,
    ]),
    [['table', 'REFUSED', null, null, 2]],
  )
  assert.deepEqual(
    ran.ledger.map(({ rowsIn, written, dead }) => [rowsIn, written, dead]),
    [
      [7, 7, 0],
      [0, 0, 0],
    ],
  )
})

test('aggregates may be called as columns of the rows are, and as anything the engine has', async () => {
  const flow = pipeline('names')
    .from(chat())
    .window({ size: 10, by: 'who', emit: 'close' }, (row) => ({
      amount: max(row.amount),
      at: count(),
      numbers: countDistinct(row.amount),
      dirty: top(1, row.who),
      windows: countDistinct(row.at),
      late: sum(row.amount),
    }))
    .into(table('names'))
  const ran = await runWindows(bench, flow.plan, [rows([1, 3], [1, 4]), rows([2, 4])], { final: true })
  assert.deepEqual(ran.rows('names', 'amount', 'at', 'numbers', 'dirty', 'windows', 'late'), [
    ['4', '3', '2', '{"a"}', '2', '11'],
  ])
})

test('panes are kept while a window needs them, and no longer', () => {
  const shapes = [
    [10, 10],
    [10, 4],
    [7, 3],
    [12, 8],
    [6, 1],
  ] as const
  for (const [sizeMs, slideMs] of shapes) {
    // as: what is looked at of a step
    const step = { sizeMs, slideMs } as WindowStep
    const { paneUs } = panesOf(step)
    for (let watermark = -40; watermark <= 40; watermark++) {
      const needed = Array.from({ length: 200 }, (_, i) => i - 100).filter((pane) =>
        windowsWith(step, BigInt(pane * paneUs)).some(({ endUs }) => endUs > BigInt(watermark) * 1000n),
      )
      assert.equal(firstOpenPane(step, watermark) + 0, needed[0], `${sizeMs} ${slideMs} ${watermark}`)
    }
  }
})

describe('of few rows and of many', () => {
  const random = randomFrom(1)
  const upTo = (n: number): number => Math.floor(random() * n)

  for (const [size, slide] of [
    [10, 10],
    [10, 5],
    [12, 2],
    [30, 2],
  ] as const) {
    test(`windows of ${size} ms every ${slide} are made otherwise, and are the same`, async () => {
      const flow = pipeline('same')
        .from(chat())
        .window({ size, slide, by: 'who', emit: { update: 1 } }, (row) => ({
          n: count(),
          total: sum(row.amount),
          most: max(row.amount),
          different: countDistinct(row.amount),
          top: top(3, row.who),
        }))
        .into(table('same'))
      const step = flow.plan.steps.find((each): each is WindowStep => each.op === 'window')
      assert.ok(step)
      const [members] = paneSets(step).filter((set) => set.is === 'members')
      assert.ok(members)
      const { perWindow, paneUs } = panesOf(step)
      const session = await bench.duck.connect()
      const inputs: WindowRun['inputs'] = [
        { relation: 'same.given', columns: flow.plan.steps.find(({ id }) => id === step.from[0])?.columns ?? [] },
      ]
      const state = (suffix: string): string => `same."state ${suffix}"`
      const run = (few: boolean): WindowRun => {
        const out = few ? 'same.few' : 'same.many'
        return { step, inputs, out, state, updates: true, waits: false, few, before: undefined, after: undefined }
      }
      for (let round = 0; round < 6; round++) {
        await session.run('drop schema if exists same cascade')
        await session.run('create schema same')
        for (const sql of windowStateSql(run(true))) await session.run(sql)
        // several batches, out of their order, so that panes come between others of their members
        for (let batch = 0; batch < 4; batch++) {
          const given = Array.from({ length: 1 + upTo(12) }, (_, i) => {
            const us = upTo(3 * perWindow) * paneUs + upTo(paneUs)
            return `(${i}, make_timestamptz(${us}), '${'ab'[upTo(2)]}', ${random() < 0.1 ? 'null' : upTo(4)}::bigint)`
          })
          await session.run(
            `create or replace table same.given as select _row, _time, _time as "at", who, amount from (values ${given.join(', ')}) t(_row, _time, who, amount)`,
          )
          for (const few of [true, false]) {
            for (const { name, as, select } of windowRelations(run(few)))
              await session.run(`create or replace ${as} ${name} as ${select}`)
          }
          const all = async (relation: string) => await session.rows(`select * from ${relation} order by all`)
          const edges = addedEdges('same.few', members)
          assert.deepEqual(await all(edges), await all(addedEdges('same.many', members)), `${round} ${batch} edges`)
          assert.deepEqual(await all('same.few'), await all('same.many'), `${round} ${batch}`)
          const keys = step.by.join(', ')
          const numbers = addedNumbers('same.few')
          await session.run(
            `delete from ${state('numbers')} where (${keys}, _pane) in (select (${keys}, _pane) from ${numbers})`,
          )
          await session.run(`insert into ${state('numbers')} by name select * from ${numbers}`)
          for (const set of paneSets(step))
            await session.run(`insert into ${state(setSuffix(set))} by name select * from ${addedTo('same.few', set)}`)
          await session.run(`insert into ${state(edgesSuffix(members))} by name select * from ${edges}`)
          const summed: string = `(select who, _at, sum(_change)::bigint as _change from ${state(edgesSuffix(members))} group by all having sum(_change) <> 0)`
          const whole: string = `(${edgesSql(step, `select * from ${state(setSuffix(members))}`)})`
          assert.deepEqual(await all(summed), await all(whole), `${round} ${batch} all edges`)
        }
      }
      await session.run('drop schema same cascade')
      session.close()
    })
  }
})

test('whether a window may close is known from the watermarks alone', () => {
  for (const [sizeMs, slideMs] of [
    [10, 10],
    [10, 4],
    [7, 3],
  ] as const) {
    // as: what is looked at of a step
    const step = { sizeMs, slideMs } as WindowStep
    for (let before = -30; before <= 30; before++) {
      for (let after = before; after <= before + 15; after++) {
        const ends = Array.from({ length: 100 }, (_, i) => (i - 50) * slideMs + sizeMs)
        const closes = ends.some((end) => end > before && end <= after)
        assert.equal(mayClose(step, { before, after }), closes, `${sizeMs} ${slideMs} ${before} ${after}`)
      }
    }
    assert.equal(mayClose(step, { before: undefined, after: 3 }), true)
    assert.equal(mayClose(step, { before: 3, after: undefined }), false)
  }
})

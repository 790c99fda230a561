import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { count, mean, min, sum, top } from './functions/aggregate.ts'
import { type Flow, integer, list, pipeline, table, text, timestamp, topic } from './pipeline.ts'
import type { AnomaliesStep, WindowStep } from './plan/plan.ts'

/** Whether two types are the same, as the compiler sees them. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>): void => {}
type ColumnsOf<F> = F extends Flow<infer C> ? { [Name in keyof C]: C[Name] } : never

const eventTime = { column: 'at', outOfOrder: '10 seconds' } as const
const chat = topic('chat', {
  columns: {
    at: timestamp(),
    who: text(),
    room: integer(),
    emotes: list(text()).optional(),
    amount: integer().optional(),
  },
  eventTime,
})
const viewers = topic('viewers', {
  columns: { at: timestamp(), who: text(), room: text(), watching: integer() },
  eventTime,
})
const minutes = { size: '1 minute', slide: '10 seconds', by: 'who' } as const

const stepOf = <Op extends 'window' | 'anomalies'>(flow: { plan: { steps: { op: string }[] } }, op: Op) =>
  // as: found by its kind
  flow.plan.steps.findLast((step) => step.op === op) as Op extends 'window' ? WindowStep : AnomaliesStep

describe('a window', () => {
  const windows = pipeline('test')
    .from(chat)
    .window(minutes, (row) => ({ n: count(), total: sum(row.amount), best: top(3, row.emotes) }))

  test('has the columns of its key, its ends, its aggregates, and whether it is final', () => {
    same<
      ColumnsOf<typeof windows>,
      {
        who: 'text'
        window_start: 'timestamp'
        window_end: 'timestamp'
        n: 'integer'
        total: 'decimal'
        best: 'list of text'
        final: 'boolean'
      }
    >(true)
    assert.deepEqual(
      stepOf(windows, 'window').columns.map(({ name, nullable }) => (nullable ? `${name}?` : name)),
      ['who', 'window_start', 'window_end', 'n', 'total?', 'best', 'final'],
    )
  })

  test('keeps late rows and shows open windows four times a second, unless it is told otherwise', () => {
    const { sizeMs, slideMs, late, emit } = stepOf(windows, 'window')
    assert.deepEqual(
      { sizeMs, slideMs, late, emit },
      {
        sizeMs: 60_000,
        slideMs: 10_000,
        late: 'keep',
        emit: { on: 'update', everyMs: 250 },
      },
    )
    const told = pipeline('test')
      .from(chat)
      .window({ size: 5000, by: ['who', 'room'], late: 'drop', emit: 'close' }, () => ({}))
    const other = stepOf(told, 'window')
    assert.deepEqual(
      [other.slideMs, other.by, other.late, other.emit],
      [5000, ['who', 'room'], 'drop', { on: 'close' }],
    )
  })

  test('takes columns and aggregates alone', () => {
    const flow = pipeline('test').from(chat)
    // @ts-expect-error there is no such column
    flow.window({ size: 10, by: 'whom' }, () => ({}))
    // @ts-expect-error a column is no aggregate
    assert.throws(() => flow.window(minutes, (row) => ({ who: row.who })), {
      code: 'WRONG_TYPE',
      message: /"who" is no aggregate/,
    })
    // @ts-expect-error there is no such column to add up
    assert.throws(() => flow.window(minutes, (row) => ({ total: sum(row.amuont) })), {
      code: 'UNKNOWN_COLUMN',
      message: /there is no column "amuont"/,
    })
    // @ts-expect-error a unit is missing
    assert.throws(() => flow.window({ size: 'a while', by: 'who' }, () => ({})), {
      code: 'INVALID_PLAN',
      message: /"a while" is no duration/,
    })
    for (const size of [1.5, -1]) assert.throws(() => flow.window({ size, by: 'who' }, () => ({})), /is no duration/)
  })

  test('is followed by what reads its columns', () => {
    const shaped = windows.select((row) => ({ who: row.who, each: row.total.dividedBy(row.n), best: row.best }))
    same<ColumnsOf<typeof shaped>, { who: 'text'; each: 'double'; best: 'list of text' }>(true)
    windows.into(table('windows', { key: ['who', 'window_start'] }))
    // @ts-expect-error the column is not there any more
    windows.into(table('windows', { key: ['room'] }))
  })
})

describe('windows of two sources', () => {
  const both = pipeline('test')
    .from(chat)
    .window(minutes, () => ({ n: count() }))
    .alongside(viewers, (row) => ({ watching: mean(row.watching) }))

  test('have the aggregates of both', () => {
    same<
      ColumnsOf<typeof both>,
      {
        who: 'text'
        window_start: 'timestamp'
        window_end: 'timestamp'
        n: 'integer'
        watching: 'double'
        final: 'boolean'
      }
    >(true)
    const step = stepOf(both, 'window')
    assert.deepEqual(step.from, ['validate', 'validate-2'])
    assert.deepEqual(
      step.inputs.map(({ aggregates }) => Object.keys(aggregates)),
      [['n'], ['watching']],
    )
    assert.deepEqual(
      step.columns.map(({ name }) => name),
      ['who', 'window_start', 'window_end', 'n', 'watching', 'final'],
    )
  })

  test('may be of more, each prepared by itself, with windows of its own beside them', () => {
    const third = both.alongside(
      topic('third', { columns: { at: timestamp(), nick: text() }, eventTime }),
      (rows) =>
        rows
          .filter((row) => row.nick.differsFrom(''))
          .select((row) => ({ who: row.nick }))
          .also((beside) => beside.window(minutes, () => ({ all: count() })).into(table('third'))),
      () => ({ seen: count() }),
    )
    const ids = third.plan.steps.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length, ids.join())
    assert.deepEqual(stepOf(third, 'window').from, ['validate', 'validate-2', 'select'])
    assert.equal(stepOf(third, 'window').id, ids.at(-1))
  })

  test('have one key, of the same types', () => {
    const byRoom = pipeline('test')
      .from(chat)
      .window({ size: 10, by: 'room' }, () => ({ n: count() }))
    // @ts-expect-error a room is a number here, and a text there
    byRoom.alongside(viewers, () => ({ m: count() }))
    const nobody = topic('nobody', { columns: { at: timestamp(), room: integer() }, eventTime })
    // @ts-expect-error it has no "who"
    both.alongside(nobody, () => ({ m: count() }))
    byRoom.alongside(nobody, () => ({ m: count() }))
  })
})

describe('anomalies', () => {
  const windows = pipeline('test')
    .from(chat)
    .window(minutes, (row) => ({ n: count(), first: min(row.who) }))

  test('have the key, the window, what it is called, and the numbers it is judged by', () => {
    const found = windows.anomalies({ of: { n: { spike: 'up' } }, by: 'who', over: 10, threshold: 3 })
    same<
      ColumnsOf<typeof found>,
      {
        who: 'text'
        window_start: 'timestamp'
        moment_type: 'text'
        value: 'double'
        mean: 'double'
        deviation: 'double'
        z_score: 'double'
      }
    >(true)
    const step = stepOf(found, 'anomalies')
    assert.deepEqual(step.of, [{ column: 'n', spike: 'up' }])
    assert.deepEqual(
      step.columns.map(({ name }) => name),
      ['who', 'window_start', 'moment_type', 'value', 'mean', 'deviation', 'z_score'],
    )
  })

  test('are of columns that are there', () => {
    // @ts-expect-error there is no such column
    windows.anomalies({ of: { m: { spike: 'up' } }, by: 'who', over: 10, threshold: 3 })
    // @ts-expect-error a key is a column
    windows.anomalies({ of: { n: { spike: 'up' } }, by: 'room', over: 10, threshold: 3 })
  })
})

test('an event time is a column of the source, and shared by several', () => {
  const columns = { at: timestamp(), who: text() }
  assert.deepEqual(topic('one', { columns, eventTime }).eventTime, {
    column: 'at',
    outOfOrderMs: 10_000,
    futureSkewMs: 300_000,
    idleAfterMs: 30_000,
    whenAllIdle: 'wait',
  })
  // @ts-expect-error there is no such column
  topic('one', { columns, eventTime: { column: 'when' } })
})

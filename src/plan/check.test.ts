import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/print.ts'
import { checkPlan } from './check.ts'
import { boolean, type Column, decimal, double, integer, json, listOf, text, timestamp } from './columns.ts'
import type { AnomaliesStep, Plan, SelectStep, Step, TableMode, ValidateStep, WindowStep } from './plan.ts'

const column = (name: string, type: Column['type'], nullable = false): Column => ({ name, type, nullable })
const input = [
  column('at', timestamp),
  column('who', text),
  column('note', text, true),
  column('amount', integer),
  column('tags', listOf(text)),
]
const validate: ValidateStep = {
  id: 'validate',
  op: 'validate',
  from: ['chat'],
  rules: {},
  checks: [],
  eventTime: { column: 'at', outOfOrderMs: 0, futureSkewMs: 0, idleAfterMs: 0, whenAllIdle: 'wait' },
  columns: input,
}
const window: WindowStep = {
  id: 'window',
  op: 'window',
  from: ['validate'],
  inputs: [{ from: 'validate', aggregates: { n: { aggregate: 'count' } } }],
  by: ['who'],
  sizeMs: 60_000,
  slideMs: 10_000,
  late: 'keep',
  emit: { on: 'close' },
  columns: [
    column('who', text),
    column('window_start', timestamp),
    column('window_end', timestamp),
    column('n', integer),
    column('final', boolean),
  ],
}
const anomalies: AnomaliesStep = {
  id: 'anomalies',
  op: 'anomalies',
  from: ['window'],
  of: [{ column: 'n', spike: 'up' }],
  by: ['who'],
  over: 10,
  threshold: 3,
  columns: [
    column('who', text),
    column('window_start', timestamp),
    column('moment_type', text),
    ...['value', 'mean', 'deviation', 'z_score'].map((name) => column(name, double)),
  ],
}

function planOf(...steps: Step[]): Plan {
  const last = steps.at(-1)
  const sink: Step = {
    id: 'table',
    op: 'table',
    from: [last?.id ?? ''],
    table: 'out',
    mode: { is: 'append' },
    columns: last?.columns ?? [],
  }
  const source = { is: 'topic' as const, topic: 'chat', whenLost: 'fail' as const, columns: validate.columns }
  return { format: 1, name: 'test', sources: { chat: source }, steps: [...steps, sink] }
}

const types = { typeOfExpression, typeOfAggregate }
const check = (...steps: Step[]): void => checkPlan(planOf(...steps), types)

const typed = (steps: Step[], code: string, message: RegExp): void => {
  assert.throws(() => check(...steps), { code, message })
}

test('a plan with windows and anomalies passes', () => {
  check(validate, window)
  check(validate, { ...window, sizeMs: 10, slideMs: 10 }, anomalies)
  check(validate, { ...window, sizeMs: 7, slideMs: 3 })
})

test('rows are kept in caches by a key of one column, which replaces', () => {
  const table = (mode: TableMode, cachedAs: string) =>
    check(validate, { id: 'kept', op: 'table', from: ['validate'], table: 'kept', mode, cachedAs, columns: input })
  table({ is: 'upsert', key: ['who'] }, 'who:')
  for (const mode of [
    { is: 'append' },
    { is: 'insert if new', key: ['who'] },
    { is: 'upsert', key: ['who', 'amount'] },
  ] satisfies TableMode[])
    assert.throws(() => table(mode, 'who:'), { code: 'INVALID_PLAN', message: /a key of one column/ })
  assert.throws(() => table({ is: 'upsert', key: ['who'] }, ''), { code: 'INVALID_PLAN' })
})

describe('a window is refused', () => {
  const refused = (change: Partial<WindowStep>, message: RegExp, code = 'INVALID_PLAN'): void =>
    typed([validate, { ...window, ...change }], code, message)

  test('without a key, or with one that can be null, a list or JSON', () => {
    refused({ by: [] }, /a window needs at least one column to go by/)
    refused({ by: ['note'] }, /"note" can be null, and so no key/, 'WRONG_TYPE')
    refused({ by: ['tags'] }, /"tags" can be a list of text, and so no key/, 'WRONG_TYPE')
    refused({ by: ['whom'] }, /there is no column "whom"/, 'UNKNOWN_COLUMN')
  })

  test('with lengths that are none', () => {
    for (const [sizeMs, slideMs] of [
      [10, 0],
      [10, -5],
      [10, 11],
      [0, 0],
      [-10, -10],
      [10.5, 10.5],
      [10, 2.5],
      [Number.NaN, 1],
      [Number.POSITIVE_INFINITY, 10],
    ] as const)
      refused({ sizeMs, slideMs }, /a window slides by at least 1 ms and by no more than its size/)
  })

  test('with so many panes, or windows of a row, that no machine has room for them', () => {
    refused({ sizeMs: 1_000_003, slideMs: 1000 }, /over 10,000 panes/)
    refused({ sizeMs: 86_400_000, slideMs: 1 }, /over 100,000 windows/)
  })

  test('over rows without an event time, or over windows', () => {
    const { eventTime: _, ...untimed } = validate
    typed([untimed, window], 'INVALID_PLAN', /the rows of "validate" have no event time/)
    const again = { ...window, id: 'again', from: ['window'], inputs: [{ from: 'window', aggregates: {} }] }
    typed([validate, window, again], 'INVALID_PLAN', /the rows of "window" have no event time/)
  })

  test('when its inputs are not the steps it reads', () => {
    refused({ inputs: [] }, /the inputs of a window are the steps it reads/)
    refused({ inputs: [...window.inputs, ...window.inputs] }, /the inputs of a window are the steps it reads/)
  })

  test('when it says other columns than it makes', () => {
    const [who, start, end, n, final] = window.columns as [Column, Column, Column, Column, Column]
    for (const columns of [
      [who, start, end, final],
      [who, start, end, { ...n, type: text }, final],
      [who, start, end, n, final, column('more', text)],
      [start, end, n, final],
    ])
      refused({ columns }, /its columns are .*, but it makes/)
  })

  test('with aggregates of columns or types that are not there', () => {
    const asks = (aggregate: WindowStep['inputs'][number]['aggregates'][string]): Partial<WindowStep> => ({
      inputs: [{ from: 'validate', aggregates: { n: aggregate } }],
    })
    refused(asks({ aggregate: 'sum', of: { column: 'none' } }), /there is no column "none"/, 'UNKNOWN_COLUMN')
    refused(asks({ aggregate: 'sum', of: { column: 'who' } }), /sum is asked of a number/, 'WRONG_TYPE')
    refused(asks({ aggregate: 'sum' }), /sum is asked of a number, and was given nothing/, 'WRONG_TYPE')
    refused(asks({ aggregate: 'top', of: { column: 'who' } }), /top takes 1 to 1,000 values/)
    refused(asks({ aggregate: 'top', of: { column: 'who' }, args: [0] }), /top takes 1 to 1,000 values/)
    refused(
      asks({ aggregate: 'count', where: { column: 'amount' } }),
      /the condition of an aggregate is not a boolean/,
      'WRONG_TYPE',
    )
    // as: a plan from plain data may ask for anything
    refused(
      asks({ aggregate: 'harmonicMean' as 'mean', of: { column: 'amount' } }),
      /there is no aggregate "harmonicMean"/,
      'UNKNOWN_FUNCTION',
    )
  })
})

describe('anomalies are refused', () => {
  const refused = (change: Partial<AnomaliesStep>, message: RegExp, code = 'INVALID_PLAN'): void =>
    typed([validate, window, { ...anomalies, ...change }], code, message)

  test('of what is no number, or of nothing, or when nothing is said', () => {
    refused({ of: [] }, /anomalies judge at least one column/)
    refused({ of: [{ column: 'who', spike: 'up' }] }, /"who" is no number to judge/, 'WRONG_TYPE')
    refused({ of: [{ column: 'm', spike: 'up' }] }, /there is no column "m"/, 'UNKNOWN_COLUMN')
    refused({ of: [{ column: 'n' }] }, /"n" is judged, and nothing is said of it/)
    refused(
      {
        of: [
          { column: 'n', spike: 'up' },
          { column: 'n', drop: 'down' },
        ],
      },
      /"n" is judged twice/,
    )
  })

  test('with numbers that make no sense', () => {
    for (const over of [1, 0, 2.5, 10_001, Number.NaN]) refused({ over }, /anomalies look at 2 to 10,000 windows/)
    for (const threshold of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      refused({ threshold }, /the threshold of anomalies is a number above 0/)
  })

  test('where no window stands before them, or its key is not theirs', () => {
    const shaped: SelectStep = {
      id: 'select',
      op: 'select',
      from: ['validate'],
      select: {
        who: { column: 'who' },
        window_start: { column: 'at' },
        n: { column: 'amount' },
        final: { literal: true, type: boolean },
      },
      columns: [column('who', text), column('window_start', timestamp), column('n', integer), column('final', boolean)],
    }
    typed([validate, shaped, { ...anomalies, from: ['select'] }], 'INVALID_PLAN', /anomalies judge windows/)
    refused({ by: [] }, /anomalies go by the key of their windows, which is who/)
    const both: WindowStep = { ...window, by: ['who', 'amount'] }
    both.columns = [column('who', text), column('amount', integer), ...window.columns.slice(1)]
    typed([validate, both, anomalies], 'INVALID_PLAN', /anomalies go by the key of their windows, which is who, amount/)
  })
})

test('the event time is a timestamp that every row has', () => {
  const timed = (name: string, more: Partial<NonNullable<ValidateStep['eventTime']>> = {}): ValidateStep => ({
    ...validate,
    eventTime: { column: name, outOfOrderMs: 0, futureSkewMs: 0, idleAfterMs: 0, whenAllIdle: 'wait', ...more },
  })
  typed([timed('when')], 'UNKNOWN_COLUMN', /there is no column "when"/)
  typed([timed('who')], 'WRONG_TYPE', /"who" is the event time/)
  for (const type of [json, decimal(9, 0)]) {
    const columns = [column('at', type)]
    const source = { is: 'topic' as const, topic: 'chat', whenLost: 'fail' as const, columns }
    const plan = { ...planOf({ ...timed('at'), columns }), sources: { chat: source } }
    assert.throws(() => checkPlan(plan, types), { code: 'WRONG_TYPE', message: /"at" is the event time/ })
  }
  for (const more of [{ outOfOrderMs: -1 }, { futureSkewMs: 0.5 }, { idleAfterMs: Number.NaN }])
    typed([timed('at', more)], 'INVALID_PLAN', /of an event time is no whole number of milliseconds/)
})

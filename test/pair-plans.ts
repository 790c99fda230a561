/** Plans of pairs and totals, by chance, and the rows they are fed with. */
import {
  type Aggregated,
  count,
  countDistinct,
  counts,
  mean,
  median,
  sum,
  top,
  typeOfAggregate,
} from '../src/functions/aggregate.ts'
import { typeOfExpression } from '../src/functions/print.ts'
import type { Row } from '../src/functions/value.ts'
import { decimal, type Flow, integer, pipeline, table, text, timestamp, topic } from '../src/pipeline.ts'
import { checkPlan } from '../src/plan/check.ts'
import { timestampText } from './reference-times.ts'
import type { HistoryShape } from './stream-histories.ts'
import type { Chance } from './window-plans.ts'

const columns = {
  at: timestamp(),
  who: text().notEmpty(),
  room: integer(),
  event: text(),
  note: text().optional(),
  amount: integer().optional(),
  price: decimal(9, 3).optional(),
}

type Event = { [Name in keyof typeof columns]: (typeof columns)[Name]['kind'] }

export function pairPlan(name: string, chance: Chance): HistoryShape {
  const { pick, maybe, upTo } = chance
  const unitMs = pick([1, 1000, 60_000])
  const maxGapMs = pick([0, 3, 10, 60, 60]) * unitMs
  const latenessMs = pick([0, 5, 20, 1000]) * unitMs
  const events = topic('events', {
    columns,
    eventTime: {
      column: 'at',
      outOfOrder: pick([0, 0, 10, 100]) * unitMs,
      idleAfter: pick([0, 1, 30_000]),
      whenAllIdle: pick(['wait', 'follow the clock'] as const),
    },
  })
  const by = pick([['who'], ['who', 'room'], ['room']] as const)
  let flow: Flow<Event> = pipeline(name).from(events)
  if (maybe(0.2)) flow = flow.into(table('raw'))
  if (maybe(0.2)) flow = flow.filter((row) => row.event.differsFrom('seen'))
  if (maybe(0.3)) {
    flow = flow.also((beside) =>
      beside.total('who', (row) => someOfRows(row, chance)).into(table('everybody', { key: 'who' })),
    )
  }
  const pairs = flow.pairs({
    // as: the columns of the key, which the rows have
    by: [...by] as ['who', 'room'],
    open: (row) => row.event.equals('open'),
    ...(maybe(0.85) ? { close: (row: Row<Event>) => row.event.equals('close') } : {}),
    ...(maybe(0.8) ? { maxGap: maxGapMs } : {}),
    lateness: latenessMs,
    carry: pick([[], ['note'], ['note', 'amount']] as const) as readonly ['note', 'amount'],
    late: pick(['keep', 'keep', 'drop'] as const),
  })
  let after = pairs.into(table('pairs', { key: 'pair_id' }))
  if (maybe(0.3))
    after = after.filter((row) => row.outcome.differsFrom('orphan')).into(table('opens', { key: 'pair_id' }))
  // by a key that is none of the pairs'
  if (maybe(0.4)) {
    after = after.also((beside) =>
      beside
        .total('outcome', (row) => someOfPairs(row as Row<Paired>, chance))
        .into(table('outcomes', { key: 'outcome' })),
    )
  }
  if (maybe(0.5)) after = after.filter((row) => row.outcome.equals('paired'))
  const totals = after
    .total([...by] as ['who'], (row) => someOfPairs(row as Row<Paired>, chance))
    .into(table('totals', { key: [...by] as ['who'] }))
  const end = maybe(0.4)
    ? totals.filter((row) => row.n.moreThan(1)).into(table('busy', { key: [...by] as ['who'] }))
    : totals
  checkPlan(end.plan, { typeOfExpression, typeOfAggregate })
  const sizeMs = 20 * unitMs
  const whos = ['a', 'a', 'b', 'Ä', `it's "q" \\`].slice(0, 1 + upTo(4))
  return {
    plan: end.plan,
    sizeMs,
    fieldsOf(_, progressMs, __, by) {
      const back = by.pick([0, 0, 0, by.upTo(5), by.upTo(20), by.upTo(200)]) * unitMs
      const us = BigInt(progressMs - back) * 1000n + BigInt(by.pick([0, 0, 0, 0, 1]))
      return {
        at: by.maybe(0.02) ? 'yesterday' : timestampText(floorTo(us, BigInt(unitMs) * 5000n, by.maybe(0.5))),
        who: by.pick(whos),
        room: by.maybe(0.03) ? 'x' : by.pick(['1', '1', '2']),
        event: by.pick(['open', 'open', 'close', 'close', 'seen']),
        note: by.pick(['x', 'y', null, '']),
        amount: by.pick(['0', '1', '2', '3', '-5', null, '9223372036854775807']),
        price: by.pick(['1.500', '-0.001', '999999.999', null, '0']),
      }
    },
  }
}

// Many at one instant.
function floorTo(us: bigint, step: bigint, does: boolean): bigint {
  return does ? us - (((us % step) + step) % step) : us
}

function someOfRows(row: Row<Event>, { maybe }: Chance): Record<string, Aggregated> {
  const makers: Record<string, () => Aggregated> = {
    n: () => count(),
    amounts: () => count(row.amount),
    amount: () => sum(row.amount),
    price: () => sum(row.price),
    mean_price: () => mean(row.price),
    middle: () => median(row.amount),
    different: () => countDistinct(row.note),
    often: () => top(2, row.note),
    each: () => counts(row.note),
    opens: () => count().where(row.event.equals('open')),
  }
  return chosen(makers, maybe)
}

type Paired = {
  who: 'text'
  note: 'text'
  amount: 'integer'
  pair_id: 'text'
  opened_at: 'timestamp'
  closed_at: 'timestamp'
  outcome: 'text'
  seconds: 'decimal'
}

function someOfPairs(row: Row<Paired>, { maybe }: Chance): { n: Aggregated<'integer'> } & Record<string, Aggregated> {
  const makers: Record<string, () => Aggregated> = {
    timed: () => count(row.seconds),
    seconds: () => sum(row.seconds),
    mean_seconds: () => mean(row.seconds),
    outcomes: () => counts(row.outcome),
    often: () => top(1, row.outcome),
    days: () => countDistinct(row.opened_at),
    paired: () => count().where(row.outcome.equals('paired')),
    closes: () => countDistinct(row.closed_at),
  }
  return { n: count(), ...chosen(makers, maybe) }
}

function chosen(makers: Record<string, () => Aggregated>, maybe: Chance['maybe']): Record<string, Aggregated> {
  const taken = Object.entries(makers).filter(() => maybe(0.4))
  return Object.fromEntries(
    (taken.length > 0 ? taken : Object.entries(makers).slice(0, 1)).map(([name, make]) => [name, make()]),
  )
}

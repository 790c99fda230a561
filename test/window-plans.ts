/** Plans of windows of every shape, by chance: what stands before, within and after them. */
import {
  type Aggregated,
  count,
  countDistinct,
  counts,
  deviation,
  max,
  mean,
  min,
  sum,
  top,
  typeOfAggregate,
} from '../src/functions/aggregate.ts'
import { typeOfExpression } from '../src/functions/print.ts'
import { lower } from '../src/functions/text.ts'
import type { Row } from '../src/functions/value.ts'
import {
  boolean,
  decimal,
  double,
  type EventTimeOptions,
  type Flow,
  integer,
  list,
  pipeline,
  type TableSink,
  table,
  text,
  timestamp,
  topic,
  type WindowOptions,
} from '../src/pipeline.ts'
import { checkPlan } from '../src/plan/check.ts'
import type { Plan } from '../src/plan/plan.ts'

/** What chance decides. */
export interface Chance {
  random(): number
  pick<T>(values: readonly T[]): T
  maybe(chance: number): boolean
  upTo(n: number): number
}

export function chanceFrom(random: () => number): Chance {
  return {
    random,
    pick: (values) => values[Math.floor(random() * values.length)] as (typeof values)[number],
    maybe: (chance) => random() < chance,
    upTo: (n) => Math.floor(random() * (n + 1)),
  }
}

/** Size and slide in some unit: side by side, overlapping, and with a size that is no multiple of the slide. */
const shapes = [
  [10, 10],
  [5, 5],
  [10, 4],
  [7, 3],
  [12, 8],
  [6, 1],
  [60, 10],
  [60, 1],
] as const

const chatColumns = {
  at: timestamp().orEpochMilliseconds(),
  who: text().notEmpty(),
  room: integer(),
  amount: integer().optional(),
  price: decimal(9, 3).optional(),
  wide: decimal(38, 20).optional(),
  ratio: double().optional(),
  note: text().optional(),
  tags: list(text()).optional(),
  flag: boolean().optional(),
}

const viewerColumns = { at: timestamp(), who: text(), room: integer(), viewers: integer() }

type Kinds<Specs extends Record<string, { kind: unknown }>> = { [Name in keyof Specs]: Specs[Name]['kind'] }
type Chat = Kinds<typeof chatColumns>
type Viewers = Kinds<typeof viewerColumns>

export interface WindowPlan {
  plan: Plan
  sizeMs: number
  slideMs: number
  outOfOrderMs: number
  futureSkewMs: number
  idleAfterMs: number
  /** The end of a window, where the watermark was last meant to stand. */
  ends: number[]
}

export function windowPlan(name: string, chance: Chance): WindowPlan {
  const { pick, maybe } = chance
  const unit = pick([1, 1000, 60_000])
  const [size, slide] = pick(shapes).map((length) => length * unit) as [number, number]
  const outOfOrderMs = pick([0, 0, slide, size, 2 * size])
  const futureSkewMs = pick([1000, 300_000])
  const idleAfterMs = pick([0, 1, 30_000, 30_000])
  const whenAllIdle = pick(['wait', 'wait', 'follow the clock'] as const)
  const time: EventTimeOptions<{ at: 'timestamp' }> = {
    column: 'at',
    outOfOrder: outOfOrderMs,
    futureSkew: futureSkewMs,
    idleAfter: idleAfterMs,
    whenAllIdle,
  }
  const chat = topic('chat', { columns: chatColumns, eventTime: time })
  const viewers = topic('viewers', { columns: viewerColumns, eventTime: time })
  const by = pick([['who'], ['who', 'room'], ['room']] as const)
  const updates = maybe(0.5)
  const windows = (over: { size: number; slide: number }): WindowOptions<'who' | 'room'> => ({
    ...over,
    by: [...by],
    late: pick(['keep', 'keep', 'keep', 'drop']),
    emit: updates ? { update: 500 } : 'close',
  })
  const key = [...by, 'window_start'] as const
  // what is handed on while it is open replaces what was
  const sink = (called: string): TableSink<string> => {
    if (updates) return table(called, { key })
    return pick<TableSink<string>>([
      table(called, { key }),
      table(called, { oncePer: key }),
      table(called, { oncePer: by }),
      table(called),
    ])
  }

  let flow: Flow<Chat> = pipeline(name).from(chat)
  if (maybe(0.2)) flow = flow.into(pick([table('chat'), table('chat', { oncePer: ['who', 'note'] })]))
  if (maybe(0.2)) flow = flow.dedup('who', 'note')
  if (maybe(0.2)) flow = flow.filter((row) => row.amount.moreThan(1).or(row.note.isPresent()))
  if (maybe(0.2)) flow = flow.select((row) => ({ ...row, who: lower(row.who) }))
  if (maybe(0.15))
    flow = flow.also((beside) =>
      beside
        .window(
          windows(
            pick([
              { size, slide },
              { size: 2 * size, slide: size },
            ]),
          ),
          (row) => someChat(row, chance, 'side_'),
        )
        .into(sink('side')),
    )
  if (maybe(0.1)) flow = flow.also((beside) => beside.dedup('note').into(table('notes')))

  const first = flow.window(windows({ size, slide }), (row) => ({ n: count(), ...someChat(row, chance) }))
  const both = maybe(0.4)
    ? first.alongside(
        viewers,
        (more) => {
          let prepared: Flow<Viewers> = more
          if (maybe(0.3)) prepared = prepared.filter((row) => row.viewers.moreThan(0))
          if (maybe(0.3))
            prepared = prepared.also((beside) =>
              beside.window(windows({ size, slide }), (row) => someViewers(row, chance, 'seen_')).into(sink('seen')),
            )
          return prepared
        },
        (row) => someViewers(row, chance),
      )
    : first
  // as: which aggregates there are is left to chance; these there are always
  const opened = both as unknown as Flow<{
    who: 'text'
    room: 'integer'
    window_start: 'timestamp'
    window_end: 'timestamp'
    n: 'integer'
    final: 'boolean'
  }>
  let after = maybe(0.5) ? opened.select((row) => ({ ...row, rate: row.n.dividedBy(10) })) : opened
  after = after.into(sink('windows') as TableSink<'window_start'>)
  if (maybe(0.3)) after = after.filter((row) => row.final).into(table('closed'))
  let end: { plan: Plan } = after
  if (maybe(0.5)) {
    const judged = after.plan.steps.findLast(({ columns }) => columns.some((column) => column.name === 'n'))
    const numbers = (judged?.columns ?? [])
      .filter(({ name, type }) => !['room', 'n'].includes(name) && ['integer', 'decimal', 'double'].includes(type.is))
      .map((column) => column.name)
    const names = ['n', ...numbers.filter(() => maybe(0.3))]
    end = after
      .anomalies({
        of: Object.fromEntries(
          names.map((each) => [each, pick([{ spike: `${each} up` }, { drop: 'down' }, { spike: 'up', drop: 'down' }])]),
        ),
        // as: the columns of the key, which the rows have
        by: [...by] as 'who'[],
        over: pick([2, 3, 5]),
        threshold: pick([0.5, 1, 1.5, 3]),
      })
      .into(table('moments'))
  }
  checkPlan(end.plan, { typeOfExpression, typeOfAggregate })
  return { plan: end.plan, sizeMs: size, slideMs: slide, outOfOrderMs, futureSkewMs, idleAfterMs, ends: [] }
}

/** Names that an engine might use for tables of its own. */
const names = ['amount', 'numbers', 'dirty', 'late', 'windows', 'set_0', 'price', 'note', 'members', 'taken_1', 'unfit']

function someChat(row: Row<Chat>, chance: Chance, prefix = ''): Record<string, Aggregated> {
  const { pick, maybe } = chance
  const makers: (() => Aggregated)[] = [
    () => count(),
    () => count(row.amount),
    () => sum(row.amount),
    () => sum(row.price),
    () => sum(row.wide),
    () => sum(row.ratio),
    () => min(row.amount),
    () => max(row.price),
    () => min(row.note),
    () => max(row.note),
    () => min(row.ratio),
    () => max(row.at),
    () => max(row.flag),
    () => mean(row.amount),
    () => mean(row.price),
    () => mean(row.ratio),
    () => deviation(row.amount),
    () => deviation(row.price),
    () => countDistinct(row.note),
    () => countDistinct(row.amount),
    () => countDistinct(row.ratio),
    () => countDistinct(row.at),
    () => top(2, row.tags),
    () => top(3, row.note),
    () => counts(row.tags),
    () => counts(row.note),
  ]
  const taken = names.filter(() => maybe(0.25))
  return Object.fromEntries(
    taken.map((name) => {
      const made = pick(makers)()
      const where = pick([row.flag, row.amount.moreThan(2), row.note.isPresent()])
      return [`${prefix}${name}`, maybe(0.25) ? made.where(where) : made]
    }),
  )
}

function someViewers(row: Row<Viewers>, { maybe }: Chance, prefix = ''): Record<string, Aggregated> {
  const all = {
    seen: count(),
    viewers: mean(row.viewers),
    most: max(row.viewers),
    kinds: countDistinct(row.viewers),
  }
  return Object.fromEntries(
    Object.entries(all)
      .filter(([name]) => name === 'seen' || maybe(0.5))
      .map(([name, made]) => [`${prefix}${name}`, made]),
  )
}

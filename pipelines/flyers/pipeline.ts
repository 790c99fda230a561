import {
  count,
  countDistinct,
  functions,
  mean,
  median,
  pipeline,
  type SettingValues,
  type System,
  sum,
  table,
  text,
  timestamp,
  topic,
} from 'millrace'
import { generator } from './generate.ts'
import { processRoute } from './process.ts'
import { readerKey, readerRoute } from './reader.ts'
import { charts, routes } from './results.ts'
import { schedules, tasks } from './retention.ts'
import { rulesOf, settings } from './settings.ts'

const { coalesce, floor, not, toDecimal, toInteger, truncateTo } = functions

const events = topic('flyers.events', {
  columns: {
    timestamp: timestamp(),
    user_id: text().notEmpty(),
    event: text().notEmpty(),
    flyer_id: text().optional(),
    merchant_id: text().optional(),
  },
  eventTime: { column: 'timestamp', whenAllIdle: 'follow the clock' },
})

function plan(settings: SettingValues) {
  const { lateness, maxGap, compat, sessions } = rulesOf(settings)
  return pipeline('flyers')
    .from(events)
    .check(
      'NO_FLYER',
      (row) => not(row.event.isIn('flyer_open', 'flyer_close')).or(coalesce(row.flyer_id, '').differsFrom('')),
      {
        message: 'a flyer was opened or closed, and flyer_id does not say which',
        column: 'flyer_id',
      },
    )
    .filter((row) => row.event.isIn('flyer_open', 'flyer_close'))
    .select((row) => ({ ...row, flyer_id: coalesce(row.flyer_id, ''), merchant_id: coalesce(row.merchant_id, '') }))
    .pairs({
      by: ['user_id', 'flyer_id'],
      open: (row) => row.event.equals('flyer_open').or(compat),
      ...(compat ? {} : { close: (row) => row.event.equals('flyer_close'), maxGap }),
      lateness,
      carry: ['merchant_id'],
    })
    .select((row) => ({ ...row, seconds: compat ? toDecimal(floor(row.seconds), 18, 6) : row.seconds }))
    .into(table('flyer_sessions', { key: 'pair_id', whenFinal: sessions }))
    .also((flow) =>
      flow
        .filter((row) => row.outcome.equals('paired'))
        .total('user_id', (row) => ({ total_seconds: sum(row.seconds), sessions: count() }))
        .select((row) => ({ ...row, total_seconds: coalesce(row.total_seconds, 0) }))
        .into(table('flyer_time_per_user', { key: 'user_id', cachedAs: readerKey('') })),
    )
    .filter((row) => row.outcome.differsFrom('orphan'))
    .select((row) => ({
      ...row,
      day: truncateTo(coalesce(row.opened_at, new Date(0)), 'day'),
      whole: toInteger(floor(row.seconds)),
    }))
    .total(['merchant_id', 'flyer_id', 'day'], (row) => ({
      opens: count(),
      readers: countDistinct(row.user_id),
      sessions: count().where(row.outcome.equals('paired')),
      mean_seconds: mean(row.seconds),
      median_seconds: median(row.whole),
      expired: count().where(row.outcome.equals('expired')),
    }))
    .select(({ mean_seconds, median_seconds, ...row }) => ({
      ...row,
      mean_minutes: mean_seconds.dividedBy(60),
      median_minutes: median_seconds.dividedBy(60),
      expired_share: row.expired.dividedBy(row.opens),
    }))
    .into(table('merchant_flyer_daily', { key: ['merchant_id', 'flyer_id', 'day'] })).plan
}

export const flyers: System = {
  name: 'flyers',
  says: 'Opens and closes of flyers, over HTTP or from files, as time spent per reader, whatever the order they come in.',
  settings,
  plan,
  migrations: new URL('./migrations/', import.meta.url),
  generate: generator,
  routes,
  posts: [processRoute()],
  gets: [readerRoute],
  tasks,
  schedules,
  charts,
}

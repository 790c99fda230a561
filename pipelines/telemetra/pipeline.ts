import {
  count,
  countDistinct,
  counts,
  functions,
  max,
  mean,
  pipeline,
  type SettingValues,
  type System,
  sum,
  table,
  top,
} from 'millrace'
import { generator } from './generate.ts'
import { charts, routes } from './results.ts'
import { momentsOf, readWords, settings, windowsOf } from './settings.ts'
import { topicsOf } from './topics.ts'

const { coalesce, countIn, keepOnly, listLength, split, when, wordsOf } = functions

function plan(settings: SettingValues) {
  const { lexicon, emotes } = readWords(settings)
  const { size, slide } = windowsOf(settings)
  const { topEmotes, threshold } = momentsOf(settings)
  const { chat, viewers } = topicsOf(settings)
  return pipeline('telemetra')
    .from(chat)
    .select(({ stream_id, user_id, message, ...row }) => ({
      stream_id,
      user_id,
      words: wordsOf(message),
      emotes: coalesce(row.emotes, keepOnly(split(message, ' '), emotes)),
    }))
    .select(({ words, ...row }) => ({
      ...row,
      good: countIn(words, lexicon.positive),
      bad: countIn(words, lexicon.negative),
    }))
    .select(({ good, bad, ...row }) => ({
      ...row,
      sentiment: when(good.plus(bad).moreThan(0), good.minus(bad).dividedBy(good.plus(bad)), 0.0),
    }))
    .window({ size, slide, by: 'stream_id', emit: { update: '50 ms' } }, (row) => ({
      chat_count: count(),
      unique_chatters: countDistinct(row.user_id),
      avg_sentiment: mean(row.sentiment),
      positive_count: count().where(row.sentiment.moreThan(0)),
      negative_count: count().where(row.sentiment.lessThan(0)),
      top_emotes: top(topEmotes, row.emotes),
      emote_counts: counts(row.emotes),
      emotes: sum(listLength(row.emotes)),
    }))
    .alongside(viewers, (row) => ({ avg_viewers: mean(row.viewer_count), peak_viewers: max(row.viewer_count) }))
    .select(({ emotes, ...row }) => ({
      ...row,
      chat_rate: row.chat_count.times(1000).dividedBy(size),
      emote_rate: coalesce(emotes, 0).times(1000).dividedBy(size),
    }))
    .also((flow) =>
      flow
        .select(({ emote_rate, ...row }) => row)
        .into(table('chat_summary_minute', { key: ['stream_id', 'window_start'] })),
    )
    .anomalies({
      of: {
        chat_rate: { spike: 'chat_spike', drop: 'chat_drop' },
        avg_viewers: { spike: 'viewer_spike', drop: 'viewer_drop' },
        emote_rate: { spike: 'emote_spike' },
      },
      by: 'stream_id',
      over: 10,
      threshold,
    })
    .into(table('moments', { oncePer: ['stream_id', 'window_start', 'moment_type'] })).plan
}

export const telemetra: System = {
  name: 'telemetra',
  says: 'Chat and viewers of live streams from topics, in sliding windows, with the moments when something happens.',
  settings,
  plan,
  migrations: new URL('./migrations/', import.meta.url),
  generate: generator,
  routes,
  charts,
}

import type { Chart, Route } from 'millrace'

const minutes = { type: 'integer', minimum: 1, maximum: 1440, default: 15, says: 'so many minutes back' } as const
const streams = { type: 'integer', minimum: 1, maximum: 50, default: 6, says: 'so many, the busiest' } as const
const limit = { type: 'integer', minimum: 1, maximum: 1000, default: 20, says: 'so many at most' } as const

// Time goes as the messages have it: what was made for another day is shown too.
const newestWindow = '(select max(window_start) from chat_summary_minute where final)'

/** A column of the closed windows of the busiest streams, along the time. */
function alongTime(name: string, says: string, column: string): Route {
  return {
    name,
    says,
    query: { minutes, streams },
    answers: { window_start: 'timestamp', stream_id: 'text', [column]: 'number' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with recent as (
          select window_start, stream_id, chat_count, ${column}
          from   chat_summary_minute
          where  final
          and    window_start > ${newestWindow} - $1 * interval '1 minute'
        )
        select window_start, stream_id, ${column}
        from   recent
        join   (
          select stream_id
          from   recent
          group by stream_id
          order by sum(chat_count) desc, stream_id
          limit  $2
        ) busiest using (stream_id)
        order by window_start, stream_id`,
        [query['minutes'], query['streams']],
      ),
  }
}

export const routes: Route[] = [
  alongTime('chat-rate', 'Messages a second in each closed window of the busiest streams', 'chat_rate'),
  alongTime('sentiment', 'The mean sentiment in each closed window, from -1 to 1', 'avg_sentiment'),
  alongTime('viewers', 'The mean number of viewers in each closed window', 'avg_viewers'),
  {
    name: 'emotes',
    says: 'The most used emotes of closed windows that do not overlap',
    query: { minutes, limit },
    answers: { emote: 'text', uses: 'integer' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select emote, sum(uses::bigint)::bigint as uses
        from   chat_summary_minute
        cross join lateral jsonb_each_text(emote_counts) counted(emote, uses)
        where  final
        and    window_start > ${newestWindow} - $1 * interval '1 minute'
        -- a message is in several windows, but in one of those that begin where another ends
        and    extract(epoch from window_start) % extract(epoch from window_end - window_start) = 0
        group by emote
        order by uses desc, emote
        limit  $2`,
        [query['minutes'], query['limit']],
      ),
  },
  {
    name: 'moments',
    says: 'Windows unlike those before them, the latest first',
    query: {
      limit,
      about: { type: 'string', maxLength: 20, default: '', says: 'only of chat, viewer or emote; without it, all' },
    },
    answers: {
      window_start: 'timestamp',
      stream_id: 'text',
      moment_type: 'text',
      value: 'number',
      mean: 'number',
      z_score: 'number',
      detected_at: 'timestamp',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select window_start, stream_id, moment_type, value, mean, z_score, detected_at
        from   moments
        where  starts_with(moment_type, $1)
        order by window_start desc, stream_id, moment_type
        limit  $2`,
        [query['about'], query['limit']],
      ),
  },
  {
    name: 'open-windows',
    says: 'Windows that are still filling: of each stream the one that closes next, the busiest first',
    query: { limit },
    answers: {
      stream_id: 'text',
      chat_count: 'integer',
      unique_chatters: 'integer',
      avg_sentiment: 'number',
      avg_viewers: 'number',
      top_emote: 'text',
      window_start: 'timestamp',
      updated_at: 'timestamp',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select *
        from (
          select distinct on (stream_id)
                 stream_id, chat_count, unique_chatters, avg_sentiment, avg_viewers,
                 top_emotes[1] as top_emote, window_start, updated_at
          from   chat_summary_minute
          where  not final
          order by stream_id, window_start
        ) next
        order by chat_count desc, stream_id
        limit  $1`,
        [query['limit']],
      ),
  },
]

export const charts: Chart[] = [
  {
    title: 'Chat rate',
    says: 'closed windows of the busiest streams, UTC',
    route: 'chat-rate',
    draws: 'line',
    x: 'window_start',
    y: ['chat_rate'],
    by: 'stream_id',
    unit: 'messages/s',
    marks: { route: 'moments?about=chat&limit=500', x: 'window_start', label: 'moment_type', says: 'moments' },
    refreshSeconds: 5,
  },
  {
    title: 'Viewers',
    says: 'the mean of each closed window',
    route: 'viewers',
    draws: 'line',
    x: 'window_start',
    y: ['avg_viewers'],
    by: 'stream_id',
    marks: { route: 'moments?about=viewer&limit=500', x: 'window_start', label: 'moment_type', says: 'moments' },
    refreshSeconds: 5,
  },
  {
    title: 'Sentiment',
    says: 'from -1 (all bad) to 1 (all good)',
    route: 'sentiment',
    draws: 'line',
    x: 'window_start',
    y: ['avg_sentiment'],
    by: 'stream_id',
    refreshSeconds: 5,
  },
  {
    title: 'Top emotes',
    says: 'of the last quarter of an hour',
    route: 'emotes?limit=10',
    draws: 'bars',
    x: 'emote',
    y: ['uses'],
    unit: 'uses',
    refreshSeconds: 5,
  },
  {
    title: 'Open windows',
    says: 'as they fill: of each stream the one that closes next',
    route: 'open-windows?limit=10',
    draws: 'table',
    x: 'stream_id',
    y: ['chat_count'],
    refreshSeconds: 1,
  },
  {
    title: 'Latest moments',
    route: 'moments?limit=20',
    draws: 'table',
    x: 'window_start',
    y: ['z_score'],
    refreshSeconds: 5,
  },
]

/** `GET /api/report/users/:user_id`: one reader, out of the cache where it has him. */
import type { GetRoute } from 'millrace'

/** The key of an answer in the cache. */
export const readerKey = (reader: string): string => `flyer_time:${reader}`

export const readerRoute: GetRoute = {
  path: '/api/report/users/:user_id',
  says: 'Hours per session of one reader',
  params: { user_id: 'the reader' },
  answers: {
    200: {
      says: 'As of the last commit, or some milliseconds before it.',
      schema: {
        type: 'object',
        properties: {
          user_id: { type: 'string' },
          avg_time_on_flyer_per_user_hours: { type: 'number' },
          sessions: { type: 'integer' },
          total_hours: { type: 'number' },
        },
      },
    },
  },
  async handle({ params }, { sql, cache }) {
    const reader = params['user_id'] ?? ''
    const found = await cache.through(readerKey(reader), async () => {
      const [row] = await sql(
        `
        select user_id, avg_hours::float8 as avg_time_on_flyer_per_user_hours, sessions,
               round(total_seconds / 3600, 2)::float8 as total_hours
        from   flyer_time_per_user
        where  user_id = $1`,
        [reader],
      )
      return row
    })
    if (found !== undefined) return { body: found }
    return { problem: { status: 404, code: 'NO_SUCH_READER', detail: `no session of "${reader}" is known` } }
  },
}

/** A system that reads one topic, with an address of its own that takes events. */
import { integer, pipeline, type System, table, text, topic } from 'millrace'

export const clicksTopic = 'clicks'

export const clicks: System = {
  name: 'clicks',
  says: 'Clicks by their id, for tests of what is posted.',
  settings: {},
  plan: () =>
    pipeline('clicks')
      .from(topic(clicksTopic, { columns: { id: text().notEmpty(), n: integer().atLeast(0) } }))
      .into(table('clicks', { oncePer: 'id' })).plan,
  posts: [
    {
      path: '/api/clicks',
      says: 'Takes clicks, and answers with all of them.',
      query: { wait: { type: 'integer', minimum: 0, maximum: 1, default: 1, says: 'with 0, it does not wait' } },
      answers: { 200: { says: 'All clicks.' }, 202: { says: 'They are durable.' } },
      async handle({ query, body }, { ingest, sql }) {
        if (query['wait'] === 0) return { status: 202, body: await ingest(clicksTopic, body) }
        const { committed } = await ingest(clicksTopic, body, { wait: 'commit' })
        const rows = await sql('select id, n from clicks order by id')
        return {
          headers: { 'millrace-rejected': String(committed?.rejected) },
          body: (async function* () {
            yield '['
            for (const [n, row] of rows.entries()) yield `${n === 0 ? '' : ','}${JSON.stringify(row)}`
            yield ']'
          })(),
        }
      },
    },
  ],
}

export function click(id: string, n = 1): { id: string; n: number } {
  return { id, n }
}

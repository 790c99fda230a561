/** Dead letters: found, shown, edited, replayed and discarded. */
import type { FastifyInstance } from 'fastify'
import type { DeadLetter, DeadLetterFilter } from '../../store/store.ts'
import { type Desk, storeOf } from '../desk.ts'
import { ProblemError } from '../problem.ts'
import { forecast, leaveReplay, replay } from '../replays.ts'
import {
  answers,
  count,
  edits,
  filterProperties,
  idParameter,
  letterSchema,
  listOf,
  orNull,
  pageProperties,
  shape,
  text,
  where,
} from '../schemas.ts'
import { letterView } from '../views.ts'

const tags = ['dead letters']

interface Where {
  ids?: number[]
  pipeline?: string
  code?: string
  file?: string
  column?: string
  batch?: number
  since?: string
  until?: string
}

interface Query extends Where {
  settled?: boolean
  before?: number
  limit: number
}

const settled = { type: 'boolean', default: false, description: 'also those replayed or discarded' }

export function deadLetterRoutes(app: FastifyInstance, desk: Desk): void {
  const shown = (letter: DeadLetter, whole: boolean) =>
    letterView(letter, desk.board.lines.get(letter.pipeline)?.plan, { whole })

  app.get<{ Querystring: Query }>(
    '/api/dead-letters',
    {
      schema: {
        tags,
        summary: 'Dead letters, newest first',
        querystring: {
          type: 'object',
          properties: { ...filterProperties, settled, ...pageProperties },
          additionalProperties: false,
        },
        response: answers(shape({ dead_letters: listOf(letterSchema), next: orNull(count) })),
      },
    },
    async ({ query }) => {
      const letters = await newestFirst(desk, query)
      const last = letters.at(-1)?.id
      // where rows are very long, a page is not full though more follow
      const more = last === undefined ? [] : await newestFirst(desk, { ...query, before: last, limit: 1 })
      return {
        dead_letters: letters.map((letter) => shown(letter, false)),
        next: more.length > 0 && last !== undefined ? last : null,
      }
    },
  )

  app.get<{ Querystring: Where & { settled?: boolean } }>(
    '/api/dead-letters/counts',
    {
      schema: {
        tags,
        summary: 'How many there are, by pipeline and code',
        querystring: { type: 'object', properties: { ...filterProperties, settled }, additionalProperties: false },
        response: answers(
          shape({ counts: listOf(shape({ pipeline: text, code: text, letters: count, replayable: count })) }),
        ),
      },
    },
    async ({ query }) => {
      const counts = await storeOf(desk).reads.countDeadLetters(filterOf(query))
      return {
        counts: counts.map(({ pipeline, code, letters, replayable }) => ({ pipeline, code, letters, replayable })),
      }
    },
  )

  app.get<{ Params: { id: number } }>(
    `/api/dead-letters/:id(^\\d+$)`,
    { schema: { tags, summary: 'One dead letter, whole', params: idParameter, response: answers(letterSchema) } },
    async ({ params: { id } }) => shown(await letterOf(desk, id), true),
  )

  app.patch<{ Params: { id: number }; Body: { fields: Record<string, string | null> } }>(
    `/api/dead-letters/:id(^\\d+$)`,
    {
      schema: {
        tags,
        summary: 'Edits the fields of an open dead letter; the row as it was read stays',
        params: idParameter,
        body: { type: 'object', properties: { fields: edits }, required: ['fields'], additionalProperties: false },
        response: answers(letterSchema, 409, 413, 415),
      },
    },
    async ({ params: { id }, body: { fields } }) => {
      const letter = shown(await letterOf(desk, id), true)
      const stranger = Object.keys(fields).find((column) => !letter.columns.includes(column))
      if (stranger !== undefined) {
        const hint = `its columns are ${letter.columns.join(', ')}`
        throw new ProblemError(404, 'UNKNOWN_COLUMN', `there is no column "${stranger}"`, hint)
      }
      await storeOf(desk).editDeadLetter(id, fields)
      return shown(await letterOf(desk, id), true)
    },
  )

  app.post<{ Body: { where: Where; set?: Record<string, string | null>; dry_run?: boolean; by_worker?: boolean } }>(
    '/api/dead-letters/replay',
    {
      schema: {
        tags,
        summary: 'Replays dead letters, or says what would become of them',
        body: {
          type: 'object',
          properties: {
            where,
            set: edits,
            dry_run: { type: 'boolean', default: false },
            by_worker: {
              type: 'boolean',
              default: false,
              description: 'leaves it to a worker, and answers at once: for very many',
            },
          },
          required: ['where'],
          additionalProperties: false,
        },
        response: answers(shape({ dry_run: { type: 'boolean' }, left: listOf(text) }), 409, 413, 415),
      },
    },
    async ({ body: { where, set = {}, dry_run: isDry = false, by_worker: byWorker = false } }) => {
      if (isDry) return await forecast(desk, filterOf(where), set)
      return await (byWorker ? leaveReplay : replay)(desk, filterOf(where), set)
    },
  )

  app.post<{ Body: { where: Where; reason: string } }>(
    '/api/dead-letters/discard',
    {
      schema: {
        tags,
        summary: 'Discards open dead letters, with a reason',
        body: {
          type: 'object',
          properties: { where, reason: { type: 'string', minLength: 1, maxLength: 1000, pattern: '^[^\\u0000]*$' } },
          required: ['where', 'reason'],
          additionalProperties: false,
        },
        response: answers(shape({ discarded: count }), 413, 415),
      },
    },
    async ({ body: { where, reason } }) => ({
      discarded: await storeOf(desk).discardDeadLetters(filterOf(where), reason),
    }),
  )
}

function filterOf({ file, since, until, ...same }: Where & { settled?: boolean }): DeadLetterFilter {
  const { ids, pipeline, code, column, batch, settled } = same
  return {
    ...(ids === undefined ? {} : { ids }),
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(code === undefined ? {} : { code }),
    ...(column === undefined ? {} : { column }),
    ...(batch === undefined ? {} : { batch }),
    ...(file === undefined ? {} : { place: file }),
    ...(since === undefined ? {} : { since: new Date(since) }),
    ...(until === undefined ? {} : { until: new Date(until) }),
    ...(settled === undefined ? {} : { settled }),
  }
}

async function letterOf(desk: Desk, id: number): Promise<DeadLetter> {
  const [letter] = await storeOf(desk).reads.deadLetters({ ids: [id], settled: true })
  if (letter !== undefined) return letter
  throw new ProblemError(404, 'NO_SUCH_DEAD_LETTER', `there is no dead letter ${id}`)
}

async function newestFirst(desk: Desk, { before, limit, ...query }: Query): Promise<DeadLetter[]> {
  const filter = filterOf(query)
  const upTo = before === undefined ? {} : { upTo: before - 1 }
  return await storeOf(desk).reads.deadLetters({ ...filter, ...upTo, limit, newestFirst: true })
}

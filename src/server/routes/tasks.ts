/** Tasks: those that wait, run, or are dead; and dead ones that are run again. */
import type { FastifyInstance } from 'fastify'
import { listTasks, type TaskFilter, tasksByState } from '../../tasks/queue.ts'
import { retryTasks } from '../../tasks/retry.ts'
import { type Desk, storeOf } from '../desk.ts'
import { answers, count, listOf, orNull, shape, taskCountSchema, taskSchema, text } from '../schemas.ts'

const tags = ['tasks']
const mostRetried = 1_000

export function taskRoutes(app: FastifyInstance, desk: Desk): void {
  app.get<{ Querystring: TaskFilter }>(
    '/api/tasks',
    {
      schema: {
        tags,
        summary:
          'The tasks that are there, dead ones first; what was done is gone, and what no worker has taken yet comes last',
        querystring: {
          type: 'object',
          properties: {
            pipeline: { type: 'string', maxLength: 63, description: 'only of this one' },
            dead: { type: 'boolean', default: false, description: 'only those that have failed for good' },
            limit: { type: 'integer', minimum: 1, maximum: 1_000, default: 100 },
          },
          additionalProperties: false,
        },
        response: answers(
          shape({
            tasks: listOf(taskSchema),
            counts: listOf(taskCountSchema),
            fault: { ...orNull(text), description: 'why none is run by this process now' },
          }),
        ),
      },
    },
    async ({ query }) => {
      const { reads } = storeOf(desk)
      const select = (sql: string, values?: unknown[]) => reads.select(sql, values)
      const [tasks, known] = await Promise.all([listTasks(select, query), tasksByState(select)])
      const counts = known.map(({ asked, waiting, ...rest }) => ({ ...rest, waiting: waiting + asked }))
      return { tasks, counts, fault: desk.board.tasksFault ?? null }
    },
  )
  app.post<{ Body: { ids: string[] } }>(
    '/api/tasks/retry',
    {
      schema: {
        tags,
        summary: 'Runs dead tasks again',
        body: {
          type: 'object',
          properties: { ids: { type: 'array', items: { type: 'string', format: 'uuid' }, maxItems: mostRetried } },
          required: ['ids'],
          additionalProperties: false,
        },
        response: answers(shape({ retried: count })),
      },
    },
    async ({ body: { ids } }) => {
      await retryTasks(storeOf(desk), ids, desk.log)
      return { retried: ids.length }
    },
  )
}

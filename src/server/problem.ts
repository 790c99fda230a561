/** What every error of the server looks like: problem+json (RFC 9457), with a code and where to read about it. */
import type { FastifyReply } from 'fastify'
import { errorCodes, MillraceError } from '../errors.ts'

export interface Problem {
  type: string
  title: string
  status: number
  code: string
  detail: string
  hint?: string
  /** What is wrong with each event of a body. */
  errors?: readonly object[]
}

/** A page that says what each code means; a problem's type leads there. */
export function errorsPage(): string {
  const entries = Object.entries({ ...httpCodes, ...errorCodes })
  // no text of a user's is among them
  const items = entries.map(([code, says]) => `<dt id="${code}"><code>${code}</code></dt><dd>${says}</dd>`)
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Errors of Millrace</title><h1>Errors</h1><dl>${items.join('\n')}</dl></html>`
}

/** What the server itself can have against a request; the other codes are those of `errors.ts`. */
export const httpCodes = {
  WRONG_HOST: 'the request was meant for a server of another name',
  WRONG_ORIGIN: 'a page of another site sent the request',
  NO_TOKEN: 'the request has no access token, or one that is not known',
  NOT_ALLOWED: 'the access token does not allow this',
  BAD_REQUEST: 'the request cannot be understood',
  NOT_FOUND: 'there is nothing at this address',
  WRONG_METHOD: 'this address does not take requests of this kind',
  WRONG_TYPE_OF_BODY: 'the body must be JSON',
  TOO_LARGE: 'the request is too large',
  NOT_PACKED_RIGHT: 'the body is not what its content-encoding says',
  UNKNOWN_TOPIC: 'no pipeline that this server knows reads such a topic, and there is none',
  BAD_EVENTS: 'some of the events cannot be taken, and none was',
  KEY_REUSED: 'the Idempotency-Key came with another body before',
  TOO_FAR_AHEAD: 'more events wait for a pipeline than may',
  NO_PIPELINE: 'no pipeline that this server knows reads the topic',
  NOT_READY: 'the process cannot do its work yet',
  BUSY: 'too much is asked or posted at once',
  TOO_SLOW: 'the database took too long for what was asked',
  FAILED: 'the request failed, and the log says why',
} as const

export function problem(status: number, code: string, detail: string, hint?: string): Problem {
  const title = code in httpCodes ? httpCodes[code as keyof typeof httpCodes] : code
  return { type: `/api/errors#${code}`, title, status, code, detail, ...(hint === undefined ? {} : { hint }) }
}

const retryAfterSeconds = 5

export async function sendProblem(reply: FastifyReply, told: Problem): Promise<FastifyReply> {
  // what stands in the way may be gone then
  if (told.status === 503 || told.status === 507) reply.header('retry-after', String(retryAfterSeconds))
  // whatever more of it would come is of no use
  if (told.status === 413) reply.header('connection', 'close')
  return reply.code(told.status).type('application/problem+json').send(told)
}

/** An error that ends a request with this problem. */
export class ProblemError extends Error {
  readonly problem: Problem

  constructor(status: number, code: string, detail: string, hint?: string, errors?: readonly object[]) {
    super(detail)
    this.name = 'ProblemError'
    this.problem = { ...problem(status, code, detail, hint), ...(errors === undefined ? {} : { errors }) }
  }
}

const statuses: Record<string, number> = {
  UNKNOWN_PIPELINE: 404,
  NO_SUCH_DEAD_LETTER: 404,
  NO_SUCH_TASK: 404,
  DEAD_LETTER_SETTLED: 409,
  UNKNOWN_COLUMN: 404,
  WRONG_USAGE: 400,
  INVALID_SETTING: 400,
  LEASE_HELD: 409,
  LEASE_LOST: 409,
  RECORD_TOO_LARGE: 413,
  TOPIC_LOCKED: 503,
  BROKER_UNREACHABLE: 503,
  DISK_FULL: 507,
}

/** The problem an error comes to; undefined when it is a fault that only the log should tell of. */
export function problemOf(error: unknown): Problem | undefined {
  if (error instanceof ProblemError) return error.problem
  if (error instanceof MillraceError) {
    const status = statuses[error.code]
    return status === undefined ? undefined : problem(status, error.code, error.message, error.hint)
  }
  if (!(error instanceof Error)) return undefined
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  if (status >= 500) return undefined
  if (status === 413) return problem(413, 'TOO_LARGE', error.message)
  if (status === 415) {
    return problem(415, 'WRONG_TYPE_OF_BODY', 'the body must be JSON', 'send it with content-type: application/json')
  }
  return problem(status, 'BAD_REQUEST', error.message)
}

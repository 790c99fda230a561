/** The one server: the API, the page, metrics and health. On this machine only, unless there are access tokens. */
import { execFileSync } from 'node:child_process'
import AjvCompiler from '@fastify/ajv-compiler'
import etag from '@fastify/etag'
import staticFiles from '@fastify/static'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { MillraceError, messageOf } from '../errors.ts'
import { TopicEnds } from '../sources/topic/lag.ts'
import { openTopics } from '../sources/topic/open.ts'
import { codeOf, isTransient } from '../store/connection.ts'
import { longestReadMs } from '../store/reads.ts'
import type { NotReady } from './board.ts'
import type { Desk } from './desk.ts'
import { guard, tokenOf } from './guard.ts'
import { Ingest } from './ingest/ingest.ts'
import { type Meter, metricsRoute } from './metrics.ts'
import { errorsPage, ProblemError, problem, problemOf, sendProblem } from './problem.ts'
import { deadLetterRoutes } from './routes/dead-letters.ts'
import { eventRoutes } from './routes/events.ts'
import { ingestRoutes } from './routes/ingest.ts'
import { lateRowRoutes } from './routes/late-rows.ts'
import { ownRoutes } from './routes/own.ts'
import { pipelineRoutes } from './routes/pipelines.ts'
import { resultRoutes } from './routes/results.ts'
import { taskRoutes } from './routes/tasks.ts'
import { answers, shape, text } from './schemas.ts'
import type { TokenFile } from './tokens.ts'

export interface ServerOptions {
  host: string
  port: number
  desk: Omit<Desk, 'ends'>
  /** Why the process cannot do its work, or nothing when it can. */
  notReady(): Promise<NotReady | undefined>
  tokens?: TokenFile
  /** The folder of the built page; without it there is only the API. */
  page?: string
}

export interface Server extends AsyncDisposable {
  readonly port: number
  readonly meter: Meter
}

/** An answer about a pipeline waits no longer for its topics: the next one has what they say. */
const topicPatienceMs = 400

export async function openServer(options: ServerOptions): Promise<Server> {
  const { log, config } = options.desk
  const ends = new TopicEnds(() => openTopics(config), topicPatienceMs)
  const desk: Desk = { ...options.desk, ends }
  const app = Fastify({
    requestTimeout: 5_000,
    keepAliveTimeout: 10_000,
    bodyLimit: 4 * 1024 * 1024,
    // a name as any other: what a body may have is what its schema says
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    forceCloseConnections: true,
    // as long as a head may be: what is too long is refused by its schema, like all else that does not fit
    routerOptions: { maxParamLength: 16 * 1024 },
    http: { headersTimeout: 3_000, connectionsCheckingInterval: 500, maxHeaderSize: 16 * 1024 },
  })
  // a number in a query is a text at first; in a body, types are what they are
  const validators = AjvCompiler()
  const ofTexts = validators(
    {},
    { customOptions: { coerceTypes: 'array', removeAdditional: false, useDefaults: true } },
  )
  const ofJson = validators({}, { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true } })
  app.setValidatorCompiler((route) => (route.httpPart === 'body' ? ofJson : ofTexts)(route))
  const taken = methodsTaken(app)
  // a form, or a page of another site, could send it without being asked
  app.removeContentTypeParser('text/plain')
  app.server.maxRequestsPerSocket = 10_000
  guard(app, options.tokens)
  const notTaken = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const [path = ''] = request.url.split('?')
    const known = [...taken].flatMap(([method, paths]) => (paths.some((one) => one.test(path)) ? [method] : []))
    if (known.length === 0) return await sendProblem(reply, problem(404, 'NOT_FOUND', `there is nothing at ${path}`))
    reply.header('allow', known.join(', '))
    return await sendProblem(reply, problem(405, 'WRONG_METHOD', `${path} takes ${known.join(', ')}`))
  }
  app.addHook('onRequest', async (request, reply) => {
    if (!taken.has(request.method)) return await notTaken(request, reply)
  })
  app.setNotFoundHandler(notTaken)
  app.setErrorHandler(async (error, request, reply) => {
    const told = problemOf(error)
    if (told !== undefined) return await sendProblem(reply, told)
    if (codeOf(error) === '42P01') {
      return await sendProblem(
        reply,
        problem(503, 'NOT_READY', 'the pipeline has not been started on this database yet'),
      )
    }
    if (codeOf(error) === '57014') {
      const detail = `the database did not answer this within ${longestReadMs / 1000} s, and was told to leave it`
      const hint = 'ask for less; what a system of your own asks may need an index'
      return await sendProblem(reply, problem(504, 'TOO_SLOW', detail, hint))
    }
    const postgresFailed = options.desk.board.postgresFault !== undefined
    if (!postgresFailed && /timeout exceeded when trying to connect/.test(messageOf(error))) {
      const detail = 'no session with the database was free in time'
      const hint = `try again in a moment: what others have asked ends within ${longestReadMs / 1000} s`
      return await sendProblem(reply, problem(503, 'BUSY', detail, hint))
    }
    if (postgresFailed || isTransient(error)) {
      return await sendProblem(reply, problem(503, 'NOT_READY', `the database does not answer: ${messageOf(error)}`))
    }
    log.error('a request failed', {
      url: request.url,
      why: error instanceof Error ? (error.stack ?? error.message) : String(error),
    })
    return await sendProblem(reply, problem(500, 'FAILED', 'the request failed; the log says why'))
  })
  await app.register(swagger, { openapi: openApiHead, hideUntagged: true })
  await app.register(swaggerUi, {
    routePrefix: '/api/docs',
    uiConfig: { docExpansion: 'list', validatorUrl: null },
    staticCSP: true,
    theme: { title: 'Millrace API' },
  })
  const ingest = new Ingest(desk)
  let meter: Meter = { note: () => {} }
  await app.register(async (scope) => {
    meter = metricsRoute(scope, desk, ingest.taken)
    ingestRoutes(scope, desk, ingest, ofTexts)
    await scope.register(async (asked) => {
      // of what is posted nobody has looked before, and a hash of each answer costs
      await asked.register(etag)
      pipelineRoutes(asked, desk)
      lateRowRoutes(asked, desk)
      deadLetterRoutes(asked, desk)
      resultRoutes(asked, desk)
      ownRoutes(asked, desk)
      taskRoutes(asked, desk)
      eventRoutes(asked, desk)
      healthRoutes(asked, options)
      asked.get('/api/openapi.json', async () => app.swagger())
      asked.get('/api/errors', async (_request, reply) => reply.type('text/html; charset=utf-8').send(errorsPage()))
    })
  })
  if (options.page !== undefined) {
    await app.register(staticFiles, {
      root: options.page,
      index: 'index.html',
      immutable: true,
      maxAge: '1y',
      setHeaders,
    })
  }
  try {
    await app.listen({ host: options.host, port: options.port })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
      throw new MillraceError('PORT_TAKEN', {
        message: `port ${options.port} is in use${holderOf(options.port)}`,
        hint: 'stop what holds it, or choose another with PORT',
        cause: error,
      })
    }
    throw error
  }
  const address = app.server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    meter,
    async [Symbol.asyncDispose]() {
      app.server.closeAllConnections()
      await app.close()
      await ends[Symbol.asyncDispose]()
      await ingest[Symbol.asyncDispose]()
    },
  }
}

const openApiHead = {
  openapi: '3.1.0',
  info: {
    title: 'Millrace',
    version: '1',
    description:
      'Pipelines, their batches, dead letters and results. Every error is problem+json with a code. Writes are JSON; where the ' +
      'server has access tokens, each request but those for health carries one.',
  },
  components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
} as const

// By method, the paths of all routes, as they are added.
function methodsTaken(app: FastifyInstance): Map<string, RegExp[]> {
  const taken = new Map<string, RegExp[]>()
  app.addHook('onRoute', ({ method, url }) => {
    const parts = url.split('/').map((part) => {
      // a parameter may say what it looks like: `:id(^\\d+$)`
      if (part.startsWith(':')) return /\(\^(.*)\$\)$/.exec(part)?.[1] ?? '[^/]+'
      return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    })
    const path = new RegExp(`^${parts.join('/')}$`)
    for (const one of [method].flat()) taken.set(one, [...(taken.get(one) ?? []), path])
  })
  return taken
}

// What has a hash in its name never changes; the page that names it does.
function setHeaders(reply: { header(name: string, value: string): unknown }, path: string): void {
  if (path.endsWith('.html')) reply.header('cache-control', 'no-cache')
}

function healthRoutes(app: FastifyInstance, { notReady, tokens }: ServerOptions): void {
  const tags = ['health']
  const status = shape({ status: text })
  app.get(
    '/health/live',
    { schema: { tags, summary: 'Whether the process lives', response: { 200: status } } },
    async () => ({ status: 'live' }),
  )
  app.get(
    '/api/health',
    { schema: { tags, summary: 'Whether the API answers', response: { 200: status } } },
    async () => ({ status: 'OK' }),
  )
  app.get(
    '/health/ready',
    { schema: { tags, summary: 'Whether it can do its work', response: answers(status) } },
    async (request) => {
      const reason = await notReady()
      if (reason === undefined) return { status: 'ready' }
      // a cause names hosts and databases
      const mayKnow = tokens === undefined || tokenOf(request, tokens) !== undefined
      if (mayKnow) throw new ProblemError(503, 'NOT_READY', reason.why)
      throw new ProblemError(503, 'NOT_READY', reason.short, 'with an access token it says why')
    },
  )
}

// Whoever listens there, where the system tells; it is only a help.
function holderOf(port: number): string {
  try {
    const lines = execFileSync('ss', ['-Hltnp', `sport = :${port}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const match = /users:\(\("([^"]+)",pid=(\d+)/.exec(lines)
    if (match) return ` by ${match[1]} (pid ${match[2]})`
  } catch {
    return holderByLsof(port)
  }
  return holderByLsof(port)
}

function holderByLsof(port: number): string {
  try {
    const out = execFileSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const pid = /^p(\d+)/m.exec(out)?.[1]
    const name = /^c(.+)/m.exec(out)?.[1]
    return pid === undefined ? '' : ` by ${name ?? 'a process'} (pid ${pid})`
  } catch {
    return ''
  }
}

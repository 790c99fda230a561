/** The one server: health, and what the pipelines do. On this machine only, until there are access tokens. */
import { execFileSync } from 'node:child_process'
import Fastify, { type FastifyInstance } from 'fastify'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'

export interface ServerOptions {
  host: string
  port: number
  log: Log
  /** Why the process cannot do its work, or nothing when it can. */
  notReady(): Promise<string | undefined>
  pipelines(): Promise<unknown[]>
}

export interface Server extends AsyncDisposable {
  readonly port: number
}

export async function openServer(options: ServerOptions): Promise<Server> {
  const app = Fastify({
    requestTimeout: 5_000,
    keepAliveTimeout: 10_000,
    bodyLimit: 64 * 1024,
    http: { headersTimeout: 3_000, connectionsCheckingInterval: 500, maxHeaderSize: 16 * 1024 },
  })
  // A page of another site can make a browser send requests here; its name for us is never ours.
  app.addHook('onRequest', async (request, reply) => {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '')
    if (!['127.0.0.1', 'localhost', '[::1]'].includes(host)) {
      await reply
        .code(421)
        .type('application/problem+json')
        .send(problem(421, 'WRONG_HOST', `this server does not answer for "${host}"`))
    }
  })
  app.setNotFoundHandler(async (request, reply) =>
    reply
      .code(404)
      .type('application/problem+json')
      .send(problem(404, 'NOT_FOUND', `there is nothing at ${request.url}`)),
  )
  app.setErrorHandler(async (error, _request, reply) => {
    const status =
      error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
    if (status >= 500) options.log.error('a request failed', { why: String(error) })
    return reply
      .code(status)
      .type('application/problem+json')
      .send(problem(status, 'FAILED', status >= 500 ? 'the request failed; the log says why' : String(error)))
  })
  addRoutes(app, options)
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
    async [Symbol.asyncDispose]() {
      app.server.closeAllConnections()
      await app.close()
    },
  }
}

function addRoutes(app: FastifyInstance, options: ServerOptions): void {
  app.get('/health/live', async () => ({ status: 'live' }))
  app.get('/health/ready', async (_request, reply) => {
    const why = await options.notReady()
    if (why === undefined) return { status: 'ready' }
    return reply
      .code(503)
      .type('application/problem+json')
      .send(problem(503, 'NOT_READY', why))
  })
  app.get('/api/pipelines', async () => ({ pipelines: await options.pipelines() }))
}

function problem(status: number, code: string, detail: string): Record<string, unknown> {
  return { type: 'about:blank', title: code, status, code, detail }
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

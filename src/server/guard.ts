/** Who may ask what: the host asked for, where a page came from, the token, and what a browser may do with the answer. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { problem, sendProblem } from './problem.ts'
import { allows, type Scope, type Token, type TokenFile } from './tokens.ts'

const loopback = ['127.0.0.1', 'localhost', '[::1]']

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "font-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function guard(app: FastifyInstance, tokens: TokenFile | undefined): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('content-security-policy', policy)
    reply.header('x-content-type-options', 'nosniff')
    reply.header('referrer-policy', 'no-referrer')
    reply.header('cross-origin-resource-policy', 'same-origin')
    const host = request.headers.host ?? ''
    // Without tokens the server answers this machine alone, and a name for it that somebody else made up is not ours.
    if (tokens === undefined && !loopback.includes(host.replace(/:\d+$/, ''))) {
      return await sendProblem(reply, problem(421, 'WRONG_HOST', `this server does not answer for "${host}"`))
    }
    const { origin } = request.headers
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) {
      return await sendProblem(reply, problem(403, 'WRONG_ORIGIN', `a page of ${origin} may not ask this server`))
    }
    const scope = scopeFor(request)
    if (tokens === undefined || scope === undefined) return
    return await checkToken(request, reply, tokens, scope)
  })
}

// By the route that answers, since one address can be written in many ways. Health is always open; the page itself, and
// what the API is like, say nothing of anybody's data. Everything else is closed, whatever is added.
function scopeFor({ method, routeOptions: { url } }: FastifyRequest): Scope | undefined {
  const isOpen = url === undefined || open.includes(url) || url.startsWith('/health/') || url.startsWith('/api/docs')
  if (isOpen) return undefined
  return method === 'GET' || method === 'HEAD' ? 'read' : 'write'
}

const open = ['/', '/*', '/api/health', '/api/openapi.json', '/api/errors']

async function checkToken(
  request: FastifyRequest,
  reply: FastifyReply,
  tokens: TokenFile,
  needed: Scope,
): Promise<FastifyReply | undefined> {
  const held = tokenOf(request, tokens)
  if (held === undefined) {
    reply.header('www-authenticate', 'Bearer')
    const detail =
      request.headers.authorization === undefined
        ? 'this server asks for an access token'
        : 'this access token is not known'
    const hint = 'send authorization: Bearer <token>; millrace tokens add makes one'
    return await sendProblem(reply, problem(401, 'NO_TOKEN', detail, hint))
  }
  if (allows(held.scope, needed)) return undefined
  return await sendProblem(
    reply,
    problem(403, 'NOT_ALLOWED', `the token "${held.name}" allows to ${held.scope}, and this needs ${needed}`),
  )
}

/** The token that a request carries, if it is one of these. */
export function tokenOf({ headers }: FastifyRequest, tokens: TokenFile): Token | undefined {
  const given = /^Bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1]
  return given === undefined ? undefined : tokens.holder(given)
}

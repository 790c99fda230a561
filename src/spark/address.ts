/** Where a Spark is, as its own clients write it: `sc://host:15002/;use_ssl=true;token=...`. */
import { MillraceError } from '../errors.ts'

export interface SparkAddress {
  /** http or https, host and port. */
  baseUrl: string
  /** Sent as a bearer token; only over TLS, or to this machine. */
  token: string | undefined
  userId: string
  /** Sent with every request: what a vendor's endpoint asks for. */
  headers: Record<string, string>
}

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/** Errors: INVALID_SETTING. */
export function sparkAddress(remote: string): SparkAddress {
  const match = /^sc:\/\/([^/;]+)(?:\/(.*))?$/.exec(remote.trim())
  const place = match?.[1] ?? ''
  if (match === null || !URL.canParse(`http://${place}`)) {
    throw wrong('the value is not the address of a Spark Connect server', 'write it like sc://host:15002/;token=...')
  }
  const parameters = new Map<string, string>()
  for (const part of (match[2] ?? '').split(';').filter((each) => each !== '')) {
    const at = part.indexOf('=')
    if (at <= 0) throw wrong(`"${part}" is not key=value`, 'parameters stand behind /; with ; between them')
    parameters.set(part.slice(0, at), decodeURIComponent(part.slice(at + 1)))
  }
  const { hostname, port } = new URL(`http://${place}`)
  const token = parameters.get('token')
  const isNear = loopback.test(hostname)
  // a token asks for TLS, as with Spark's own clients; to this machine it may go without
  const tls =
    parameters.get('use_ssl') === undefined ? token !== undefined && !isNear : parameters.get('use_ssl') === 'true'
  if (token !== undefined && !tls && !isNear) {
    throw wrong('a token would be sent without TLS', 'leave out use_ssl=false')
  }
  const userId = parameters.get('user_id') ?? 'millrace'
  for (const name of ['token', 'use_ssl', 'user_id', 'user_agent', 'session_id']) parameters.delete(name)
  return {
    baseUrl: `${tls ? 'https' : 'http'}://${hostname}:${port || '15002'}`,
    token,
    userId,
    headers: Object.fromEntries(parameters),
  }
}

function wrong(message: string, hint: string): MillraceError {
  return new MillraceError('INVALID_SETTING', { at: 'SPARK_REMOTE', message, hint })
}

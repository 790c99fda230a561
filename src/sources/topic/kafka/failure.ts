/** What can be wrong with a connection, told so that a person knows what to mend. Passwords are never part of it. */
import type { ConnectionOptions } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'
import type { Address } from './link.ts'

export function addressText(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** Why a connection did not come about. */
export function connectFailure(address: Address, options: ConnectionOptions, error: unknown): MillraceError {
  const refused = refusal(options, messages(error))
  return refused === undefined
    ? unreachable(address, `Kafka does not answer: ${deepest(error)}`, error)
    : told(address, refused)
}

/** What an open connection ended with. A broker that wants TLS, or a certificate, says so only when it is asked something. */
export function lostConnection(address: Address, options: ConnectionOptions, error: unknown): MillraceError {
  const refused = refusal(options, messages(error))
  return refused === undefined
    ? unreachable(address, `the connection to Kafka broke: ${deepest(error)}`, error)
    : told(address, refused)
}

interface Refusal {
  message: string
  hint: string
}

// What stays wrong until somebody mends it; anything else may pass.
function refusal(options: ConnectionOptions, said: readonly string[]): Refusal | undefined {
  const has = (text: RegExp): boolean => said.some((message) => text.test(message))
  const last = said.at(-1) ?? ''
  if (has(/requires TLS/i)) {
    return { message: 'the broker speaks TLS there', hint: 'set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL' }
  }
  if (has(/suitable SASL mechanism/i)) {
    return {
      message: `the broker does not take ${options.sasl?.mechanism}`,
      hint: 'set KAFKA_SASL_MECHANISM to one that it is configured for',
    }
  }
  if (has(/authentication failed/i)) {
    return {
      message: `the broker refuses the user "${String(options.sasl?.username)}"`,
      hint: 'look at KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM: one of them is not what it knows',
    }
  }
  if (has(/\balert\b|wrong version number/i)) {
    return {
      message: `the broker does not accept TLS as we speak it: ${last}`,
      hint: 'does it speak TLS there at all? if it asks for a certificate, set KAFKA_SSL_CERT and KAFKA_SSL_KEY',
    }
  }
  if (has(/certificate|altnames|self.signed|unable to verify/i)) {
    return {
      message: `its certificate is not accepted: ${last}`,
      hint: 'KAFKA_SSL_CA names a file with the certificate of who signed it, and the address must be one it was made out for',
    }
  }
  return undefined
}

// Without the cause: what the library keeps of a failed login is not for logs.
function told(address: Address, refused: Refusal): MillraceError {
  return new MillraceError('BROKER_REFUSED', { at: addressText(address), ...refused, retry: false })
}

function unreachable(address: Address, message: string, cause: unknown): MillraceError {
  return new MillraceError('BROKER_UNREACHABLE', { at: addressText(address), message, retry: true, cause })
}

/** No broker answered: what each address said, once. */
export function noneAnswers(reasons: readonly MillraceError[]): MillraceError {
  const told = new Map(reasons.map((reason) => [reason.at, reason.message]))
  return new MillraceError('BROKER_UNREACHABLE', {
    at: [...told.keys()].join(', '),
    message: [...new Set(told.values())].join('; '),
    hint: `KAFKA_BOOTSTRAP_SERVERS names where to ask first; the brokers then say (advertised.listeners) where they are.
  One that hangs up at once may speak otherwise than KAFKA_SECURITY_PROTOCOL says`,
    retry: true,
    cause: reasons[0],
  })
}

function deepest(error: unknown): string {
  return messages(error).at(-1) ?? 'without a reason'
}

function messages(error: unknown): string[] {
  const found: string[] = []
  const visit = (at: unknown, depth: number): void => {
    if (!(at instanceof Error) || depth > 6) return
    if (at.message !== '') found.push(at.message)
    if (at instanceof AggregateError) for (const each of at.errors) visit(each, depth + 1)
    visit(at.cause, depth + 1)
  }
  visit(error, 0)
  return found
}

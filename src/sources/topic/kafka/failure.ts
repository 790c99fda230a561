/** What can be wrong with a connection, told so that a person knows what to mend. Passwords are never part of it. */
import type { ConnectionOptions } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'
import type { Address } from './link.ts'

export function addressText(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** What an open connection ended with, while it was asked something. */
export function lostConnection(address: Address, error: unknown): MillraceError {
  if (messages(error).some((message) => /requires TLS/i.test(message))) {
    return refusal(address, 'the broker speaks TLS there', 'set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL')
  }
  return unreachable(address, `the connection to Kafka broke: ${deepest(error)}`, error)
}

/** Why a connection did not come about. */
export function connectFailure(address: Address, options: ConnectionOptions, error: unknown): MillraceError {
  const said = messages(error)
  const has = (text: RegExp): boolean => said.some((message) => text.test(message))
  if (has(/suitable SASL mechanism/i)) {
    const mechanism = options.sasl?.mechanism ?? 'none'
    return refusal(
      address,
      `the broker does not take ${mechanism}`,
      'set KAFKA_SASL_MECHANISM to one that it is configured for',
    )
  }
  if (has(/authentication failed/i)) {
    return refusal(
      address,
      `the broker refuses the user "${String(options.sasl?.username)}"`,
      'look at KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM: one of them is not what it knows',
    )
  }
  if (has(/\balert\b|wrong version number/i)) {
    return refusal(
      address,
      `the broker does not accept TLS as we speak it: ${deepest(error)}`,
      'does it speak TLS there at all? if it asks for a certificate, set KAFKA_SSL_CERT and KAFKA_SSL_KEY',
    )
  }
  if (has(/certificate|altnames|self.signed|unable to verify/i)) {
    return refusal(
      address,
      `its certificate is not accepted: ${deepest(error)}`,
      'KAFKA_SSL_CA names a file with the certificate of who signed it, and the address must be one it was made out for',
    )
  }
  return unreachable(address, `Kafka does not answer: ${deepest(error)}`, error)
}

// Without the cause: what the library keeps of a failed login is not for logs.
function refusal(address: Address, message: string, hint: string): MillraceError {
  return new MillraceError('BROKER_REFUSED', { at: addressText(address), message, hint, retry: false })
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

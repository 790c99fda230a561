/** TLS to a server, with the meaning that libpq gives to `sslmode` and its files, and what to do about its errors. */
import { readFileSync } from 'node:fs'
import type pg from 'pg'
import { MillraceError, messageOf } from '../errors.ts'

export interface TlsSettings {
  ssl: pg.ClientConfig['ssl']
  sslnegotiation: 'postgres' | 'direct'
  /** Whether a server that does not speak TLS is spoken to without it. */
  plainToo: boolean
}

/** Said outright, so that no variable of the environment says otherwise. */
export const withoutTls: TlsSettings = { ssl: false, sslnegotiation: 'postgres', plainToo: false }

// As libpq names them, in the URL and in the environment.
const tlsParameters = {
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslnegotiation: 'PGSSLNEGOTIATION',
} as const

/** Sentences about variables that ask for another TLS than the URL, which wins. */
export function tlsDisagreements(url: string, environment: Record<string, string | undefined> = process.env): string[] {
  const { searchParams } = new URL(url)
  return Object.entries(tlsParameters).flatMap(([name, variable]) => {
    const [here, there] = [searchParams.get(name), environment[variable]]
    if (!here || !there || here === there) return []
    return [`${name}=${here} in the address of the database and ${variable}=${there} disagree; the address is used`]
  })
}

/** `parameter` is the value of a parameter of the URL, or else of the variable. */
export function tlsSettings(parameter: (name: string, variable: string) => string | undefined): TlsSettings {
  const mode = parameter('sslmode', 'PGSSLMODE') ?? 'prefer'
  const rootCert = parameter('sslrootcert', 'PGSSLROOTCERT')
  const cert = parameter('sslcert', 'PGSSLCERT')
  const key = parameter('sslkey', 'PGSSLKEY')
  // as the first word it is TLS or nothing
  const sslnegotiation = parameter('sslnegotiation', 'PGSSLNEGOTIATION') === 'direct' ? 'direct' : 'postgres'
  if (mode === 'disable') return withoutTls
  if ((cert === undefined) !== (key === undefined)) {
    throw new MillraceError('INVALID_SETTING', {
      at: cert === undefined ? 'sslkey' : 'sslcert',
      message: 'a client certificate needs its key, and a key its certificate',
      hint: 'set both sslcert and sslkey (PGSSLCERT and PGSSLKEY)',
    })
  }
  const material = {
    ...(rootCert && rootCert !== 'system' ? { ca: readPem('sslrootcert', rootCert) } : {}),
    ...(cert ? { cert: readPem('sslcert', cert) } : {}),
    ...(key ? { key: readPem('sslkey', key) } : {}),
  }
  const byAuthority = { ...material, checkServerIdentity: () => undefined }
  // encrypted, and not asked who is there, unless a root certificate says who may be
  const anybody = rootCert ? byAuthority : { ...material, rejectUnauthorized: false }
  switch (mode) {
    case 'allow':
    case 'prefer':
    case 'require':
      return mode === 'require'
        ? { ssl: anybody, sslnegotiation, plainToo: false }
        : { ssl: anybody, sslnegotiation: 'postgres', plainToo: true }
    case 'verify-ca':
      return { ssl: byAuthority, sslnegotiation, plainToo: false }
    case 'verify-full':
      return { ssl: material, sslnegotiation, plainToo: false }
    default:
      throw new MillraceError('INVALID_SETTING', {
        at: 'sslmode',
        message: `"${mode}" is not disable, allow, prefer, require, verify-ca or verify-full`,
      })
  }
}

function readPem(name: string, path: string): string {
  const pem = read(name, path)
  if (pem.includes('-----BEGIN ')) return pem
  throw new MillraceError('INVALID_SETTING', {
    at: name,
    message: `"${path}" holds no certificate or key`,
    hint: 'it must be a PEM file, with a line that begins -----BEGIN',
  })
}

function read(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new MillraceError('INVALID_SETTING', { at: name, message: `"${path}" cannot be read`, cause: error })
  }
}

/** Whether a server would rather be spoken to without TLS: it has none, or lets nobody in by it. */
export function wantsPlain(error: unknown): boolean {
  const message = error instanceof Error ? error.message : ''
  return message === noTls || /^no pg_hba\.conf entry .* SSL encryption$/.test(message)
}

const noTls = 'The server does not support SSL connections'

/** What a failure to connect says of TLS, in words that name the setting; undefined when it is about something else. */
export function tlsFault(error: unknown): { message: string; hint: string } | undefined {
  const message = messageOf(error)
  if (message === noTls) {
    return { message: 'the server does not speak TLS', hint: 'turn ssl on there, or set sslmode=prefer or disable' }
  }
  if (/^no pg_hba\.conf entry .* no encryption$/.test(message)) {
    return { message, hint: 'does the server ask for TLS? then set sslmode=require, or better verify-full' }
  }
  if (message === 'connection requires a valid client certificate') {
    return { message: 'the server asks for a client certificate', hint: 'set sslcert and sslkey to it and its key' }
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (unknownAuthority.has(code)) {
    return {
      message: `the server's certificate is not one of a known authority (${message})`,
      hint: "set sslrootcert to the certificate of the server's own authority; if it is set, another one signed here",
    }
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      message: `the server's certificate is for another host (${message})`,
      hint: 'connect by a name that is in the certificate, or ask only who signed it: sslmode=verify-ca',
    }
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return { message: `the server's certificate: ${message}`, hint: 'renew it, or set the clock of this machine' }
  }
  if (code.startsWith('ERR_SSL_') && code.includes('_ALERT_')) {
    return {
      message: `the server broke off the TLS handshake: ${code
        .replace(/^.*_ALERT_/, '')
        .replaceAll('_', ' ')
        .toLowerCase()}`,
      hint: 'is the client certificate in sslcert valid, and of the authority that the server knows (its ssl_ca_file)?',
    }
  }
  if (code.startsWith('ERR_OSSL_')) {
    return { message, hint: 'are sslcert and sslkey a certificate and its own key, without a passphrase?' }
  }
  return undefined
}

const unknownAuthority = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
])

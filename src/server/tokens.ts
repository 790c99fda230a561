/** Access tokens: a file of names, hashes and scopes. The tokens themselves are shown once and kept nowhere. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MillraceError, messageOf } from '../errors.ts'

export const scopes = ['read', 'write', 'admin'] as const
/** What a token allows: `write` also what `read` does, `admin` everything. */
export type Scope = (typeof scopes)[number]

export interface Token {
  name: string
  /** SHA-256 of the token, in hex. A token is 256 random bits, so that nothing slower is needed. */
  hash: string
  scope: Scope
  createdAt: string
}

/** Whose token it is. */
export interface TokenFile {
  holder(token: string): Token | undefined
}

/** Tokens of a file, which may change while the server runs, and one that is known to this process alone. */
export function openTokenFile(path: string, own?: Token, onFault: (error: unknown) => void = () => {}): TokenFile {
  let tokens = readTokens(path)
  let readAt = stampOf(path)
  return {
    holder(token) {
      // while the file is being replaced, or is gone, those that were read last hold
      try {
        const stamp = stampOf(path)
        if (stamp !== readAt) tokens = readTokens(path)
        readAt = stamp
      } catch (error) {
        onFault(error)
      }
      const hash = Buffer.from(hashOf(token), 'hex')
      let found: Token | undefined
      // all are compared, so that the time says nothing of which it was
      for (const candidate of own === undefined ? tokens : [...tokens, own])
        if (timingSafeEqual(Buffer.from(candidate.hash, 'hex'), hash)) found = candidate
      return found
    },
  }
}

function stampOf(path: string): string {
  const { mtimeNs, size } = statSync(path, { bigint: true })
  return `${mtimeNs} ${size}`
}

export function readTokens(path: string): Token[] {
  let told: unknown
  try {
    told = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    const hint = 'millrace tokens add NAME makes the file, and prints a token'
    throw new MillraceError('INVALID_SETTING', {
      at: `API_TOKENS_FILE ${path}`,
      message: messageOf(cause),
      hint,
      cause,
    })
  }
  if (!Array.isArray(told) || !told.every(isToken)) {
    throw new MillraceError('INVALID_SETTING', {
      at: `API_TOKENS_FILE ${path}`,
      message: 'it is no list of {name, hash, scope, createdAt}',
      hint: 'write it with millrace tokens add and revoke',
    })
  }
  return told
}

function isToken(told: unknown): told is Token {
  if (typeof told !== 'object' || told === null) return false
  const { name, hash, scope, createdAt } = told as Record<string, unknown>
  return (
    typeof name === 'string' &&
    typeof createdAt === 'string' &&
    typeof hash === 'string' &&
    /^[0-9a-f]{64}$/.test(hash) &&
    scopes.some((one) => one === scope)
  )
}

/** A new token, and what the file keeps of it. */
export function newToken(name: string, scope: Scope, now: Date): { token: string; kept: Token } {
  const token = `mr_${randomBytes(32).toString('base64url')}`
  return { token, kept: { name, hash: hashOf(token), scope, createdAt: now.toISOString() } }
}

/** Replaces the file as a whole, readable by its owner alone. */
export async function writeTokens(path: string, tokens: Token[]): Promise<void> {
  const beside = `${path}.${process.pid}`
  await mkdir(dirname(path), { recursive: true })
  const handle = await open(beside, 'w', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(tokens, null, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(beside, path)
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

export function allows(held: Scope, needed: Scope): boolean {
  return scopes.indexOf(held) >= scopes.indexOf(needed)
}

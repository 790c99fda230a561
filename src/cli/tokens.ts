/** Access tokens for the server: made, listed and taken back. */
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { MillraceError } from '../errors.ts'
import { newToken, readTokens, type Scope, scopes, type Token, writeTokens } from '../server/tokens.ts'
import { readConfig } from './open.ts'
import { tableLines } from './text.ts'
import { jsonOption, noWords, textOption, type Verb } from './verb.ts'

export const tokensAdd: Verb = {
  says: 'Makes an access token for the server, and prints it; it is shown this once.',
  usage: '<name> [--scope read|write|admin] [--json]',
  options: {
    scope: { type: 'string', says: 'what it allows: read (the default), write or admin', takes: scopes },
    ...jsonOption,
  },
  examples: ['millrace tokens add grafana', 'millrace tokens add till-7 --scope write'],
  async run({ words, options, out }) {
    const name = nameIn(words)
    const scope = textOption(options, 'scope') ?? 'read'
    if (!isScope(scope)) {
      throw new MillraceError('WRONG_USAGE', { at: '--scope', message: `"${scope}" is not ${scopes.join(', ')}` })
    }
    const { config } = readConfig()
    const path = fileOf(config)
    const tokens = tokensIn(path)
    if (tokens.some((token) => token.name === name)) {
      throw new MillraceError('WRONG_USAGE', {
        message: `there is a token "${name}" already`,
        hint: `take it back first: millrace tokens revoke ${name}`,
      })
    }
    const { token, kept } = newToken(name, scope, new Date())
    await writeTokens(path, [...tokens, kept])
    if (options['json'] === true) {
      out(JSON.stringify({ name, scope, token, file: path }))
      return 0
    }
    out(token)
    process.stderr.write(
      `It allows to ${scope}. Keep it: only its hash is in ${path}.\n${
        config.tokensFile === undefined ? `The server asks for tokens when API_TOKENS_FILE=${path} is set.\n` : ''
      }`,
    )
    return 0
  },
}

export const tokensList: Verb = {
  says: 'Lists access tokens by name; the tokens themselves are kept nowhere.',
  usage: '[--json]',
  options: { ...jsonOption },
  examples: ['millrace tokens list'],
  async run({ words, options, out }) {
    noWords(words)
    const tokens = tokensIn(fileOf(readConfig().config))
    if (options['json'] === true) {
      for (const { name, scope, createdAt } of tokens) out(JSON.stringify({ name, scope, created_at: createdAt }))
      return 0
    }
    if (tokens.length === 0) out('there are no tokens: millrace tokens add NAME makes one')
    else {
      const rows = tokens.map(({ name, scope, createdAt }) => [name, scope, createdAt])
      for (const line of tableLines([{ title: 'name' }, { title: 'scope' }, { title: 'made' }], rows)) out(line)
    }
    return 0
  },
}

export const tokensRevoke: Verb = {
  says: 'Takes an access token back; a running server refuses it from the next request on.',
  usage: '<name> [--json]',
  options: { ...jsonOption },
  examples: ['millrace tokens revoke grafana'],
  async run({ words, options, out }) {
    const name = nameIn(words)
    const path = fileOf(readConfig().config)
    const tokens = tokensIn(path)
    const kept = tokens.filter((token) => token.name !== name)
    if (kept.length === tokens.length) {
      const names = tokens.map((token) => token.name).join(', ')
      throw new MillraceError('WRONG_USAGE', {
        message: `there is no token "${name}"`,
        hint: names === '' ? 'there are none' : `there is ${names}`,
      })
    }
    await writeTokens(path, kept)
    out(options['json'] === true ? JSON.stringify({ revoked: name }) : `"${name}" is taken back`)
    return 0
  },
}

function fileOf(config: Config): string {
  return config.tokensFile ?? join(config.dataDirectory, 'tokens.json')
}

// Nothing is there before the first one is made.
function tokensIn(path: string): Token[] {
  try {
    return readTokens(path)
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw error
  }
}

function nameIn(words: string[]): string {
  const [name, ...more] = words
  if (name !== undefined && more.length === 0 && /^[\w.-]{1,64}$/.test(name)) return name
  throw new MillraceError('WRONG_USAGE', {
    message: 'a token has a name of letters, digits, dots and hyphens',
    hint: 'millrace tokens add grafana',
  })
}

function isScope(text: string): text is Scope {
  return scopes.some((scope) => scope === text)
}

/** Finds the verb of a command line, reads its options, and turns errors into sentences and exit codes. */
import { parseArgs } from 'node:util'
import { MillraceError, messageOf } from '../errors.ts'
import { sentenceOf } from './open.ts'
import { type Options, parseOptions, type Verb } from './verb.ts'
import { find, helpOf } from './verbs.ts'

/** Runs a command line, and sets the exit code of the process. */
export async function runCommandLine(args: string[]): Promise<void> {
  // `millrace sql ... | head` has read enough
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
  try {
    process.exitCode = await run(args)
  } catch (error) {
    process.stderr.write(`${sentenceOf(error)}\n`)
    const usage = error instanceof MillraceError && (error.code === 'WRONG_USAGE' || error.code === 'UNKNOWN_PIPELINE')
    process.exitCode = usage ? 2 : 1
  }
}

async function run(args: string[]): Promise<number> {
  const found = find(args)
  switch (found.is) {
    case 'help':
      process.stdout.write(found.text)
      return found.exitCode
    case 'unknown':
      process.stderr.write(found.text)
      return 2
    case 'verb':
  }
  const { name, verb, rest } = found
  const known = { ...verb.options, ...(await verb.ownOptions?.(rest)) }
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    const options = parseOptions(known)
    parsed = parseArgs({ args: negativesJoined(rest, known), options, allowPositionals: true, strict: true })
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${helpOf(name, verb)}`)
    return 2
  }
  return await verb.run({
    words: parsed.positionals,
    // as: parseArgs gives what the options say: texts, switches, and lists of texts
    options: parsed.values as Options,
    signal: stopSignal(),
    out: (line) => process.stdout.write(`${line}\n`),
  })
}

// `--price -1` names a value; parseArgs would ask whether it is an option.
function negativesJoined(args: string[], options: Verb['options']): string[] {
  const joined: string[] = []
  for (const arg of args) {
    const last = joined.at(-1) ?? ''
    const takesValue = last.startsWith('--') && options[last.slice(2)]?.type === 'string'
    if (takesValue && /^-\d/.test(arg)) joined.push(`${joined.pop()}=${arg}`)
    else joined.push(arg)
  }
  return joined
}

// A terminal sends Ctrl-C to the whole group, and npm hands it on besides: what comes at once is one wish.
const oneWishMs = 500

// What is asked to stop has stopped within ten seconds.
const mostStopMs = 9000

function stopSignal(): AbortSignal {
  const stop = new AbortController()
  let askedAt: number | undefined
  const ask = (signal: NodeJS.Signals): void => {
    const now = performance.now()
    askedAt ??= now
    // asked a second time, it does not wait for the batch in hand
    if (now - askedAt > oneWishMs) process.exit(1)
    stop.abort(signal)
    // a database that says nothing must not hold the process: dying is safe at any place
    setTimeout(() => {
      process.stderr.write('it did not stop in time, and is ended now; nothing committed is lost\n')
      process.exit(1)
    }, mostStopMs).unref()
  }
  process.on('SIGINT', ask)
  process.on('SIGTERM', ask)
  return stop.signal
}

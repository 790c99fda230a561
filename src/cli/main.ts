#!/usr/bin/env node
/** `millrace <verb>`: finds the verb, reads its options, and turns errors into sentences and exit codes. */
import { parseArgs } from 'node:util'
import { MillraceError, messageOf, nearest } from '../errors.ts'
import { generate } from './generate.ts'
import { run } from './run.ts'
import { start, work } from './start.ts'
import { parseOptions, type Verb } from './verb.ts'

const verbs: Record<string, Verb> = { start, work, run, generate }

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(overview())
    return name === undefined ? 2 : 0
  }
  const verb = verbs[name]
  if (verb === undefined) {
    const meant = nearest(name, Object.keys(verbs))
    process.stderr.write(`there is no verb "${name}"${meant === undefined ? '' : `; did you mean "${meant}"?`}\n\n${overview()}`)
    return 2
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(helpOf(name, verb))
    return 0
  }
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: rest, options: parseOptions(verb.options), allowPositionals: true, strict: true })
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${helpOf(name, verb)}`)
    return 2
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stop.abort(signal)
      // asked a second time, it does not wait for the batch in hand
      process.once(signal, () => process.exit(1))
    })
  }
  return await verb.run({
    words: parsed.positionals,
    // as: parseArgs gives what the options say: texts, switches, and lists of texts
    options: parsed.values as Record<string, string | boolean | string[] | undefined>,
    signal: stop.signal,
    out: (line) => process.stdout.write(`${line}\n`),
  })
}

function overview(): string {
  const width = Math.max(...Object.keys(verbs).map((name) => name.length)) + 2
  const lines = Object.entries(verbs).map(([name, { says }]) => `  ${name.padEnd(width)}${says}`)
  return `millrace <verb> [options]\n\n${lines.join('\n')}\n\nmillrace <verb> --help says more of each.\n`
}

function helpOf(name: string, verb: Verb): string {
  const width = Math.max(8, ...Object.keys(verb.options).map((option) => option.length)) + 4
  const options = Object.entries(verb.options).map(([option, { says }]) => `  --${option}`.padEnd(width + 2) + says)
  return `${verb.says}\n\n  millrace ${name} ${verb.usage}\n\n${options.join('\n')}\n\nexamples:\n${verb.examples.map((example) => `  ${example}`).join('\n')}\n`
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const known = error instanceof MillraceError
  process.stderr.write(`${known ? error.toString() : (error instanceof Error && error.stack) || String(error)}\n`)
  process.exitCode = known && error.code === 'WRONG_USAGE' ? 2 : 1
}

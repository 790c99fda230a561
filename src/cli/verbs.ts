/** The verbs, and the words that explain them. A verb of two words is found by both. */
import manifest from '../../package.json' with { type: 'json' }
import { nearest } from '../errors.ts'
import { completionsOf } from './completions.ts'
import { config } from './config.ts'
import { edit, list, show } from './dead-letters.ts'
import { dev } from './dev.ts'
import { discard } from './discard.ts'
import { doctor } from './doctor.ts'
import { explain } from './explain.ts'
import { generate } from './generate.ts'
import { init } from './init.ts'
import { migrate } from './migrate.ts'
import { replay } from './replay.ts'
import { reset } from './reset.ts'
import { run } from './run.ts'
import { sql } from './sql.ts'
import { serve, start, work } from './start.ts'
import { status } from './status.ts'
import { tasksList, tasksRetry } from './tasks.ts'
import { labelledLines, wrapped } from './text.ts'
import { tokensAdd, tokensList, tokensRevoke } from './tokens.ts'
import type { Verb } from './verb.ts'

export const verbs: Record<string, Verb> = {
  start,
  dev,
  work,
  serve,
  run,
  generate,
  init,
  status,
  sql,
  explain,
  config,
  doctor,
  'dead-letters list': list,
  'dead-letters show': show,
  'dead-letters edit': edit,
  'dead-letters replay': replay,
  'dead-letters discard': discard,
  'tasks list': tasksList,
  'tasks retry': tasksRetry,
  reset,
  migrate,
  'tokens add': tokensAdd,
  'tokens list': tokensList,
  'tokens revoke': tokensRevoke,
  completions: completionsOf(() => verbs),
}

export type Found =
  | { is: 'verb'; name: string; verb: Verb; rest: string[] }
  /** Help was asked for, or nothing at all was. */
  | { is: 'help'; text: string; exitCode: number }
  | { is: 'unknown'; text: string }

/** What a command line asks for. */
export function find(args: string[]): Found {
  const [first, second, ...others] = args
  if (first === undefined) return { is: 'help', text: overview(), exitCode: 2 }
  if (isHelp(first)) {
    // `help run` is `run --help`
    return second === undefined ? { is: 'help', text: overview(), exitCode: 0 } : find([...args.slice(1), '--help'])
  }
  if (first === '--version') return { is: 'help', text: `millrace ${manifest.version}\n`, exitCode: 0 }
  const two = `${first} ${second}`
  if (Object.hasOwn(verbs, two)) return asked(two, others)
  if (Object.hasOwn(verbs, first)) return asked(first, args.slice(1))
  const group = Object.keys(verbs).filter((name) => name.startsWith(`${first} `))
  if (group.length > 0) {
    if (second === undefined || isHelp(second)) {
      return { is: 'help', text: listed(group), exitCode: second === undefined ? 2 : 0 }
    }
    return { is: 'unknown', text: `${unknown(two, group)}\n\n${listed(group)}` }
  }
  return { is: 'unknown', text: `${unknown(first, Object.keys(verbs))}\n\n${overview()}` }
}

function asked(name: string, rest: string[]): Found {
  const verb = verbs[name]
  if (verb === undefined) return { is: 'unknown', text: overview() }
  const own = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
  if (own.some((word) => word === '--help' || word === '-h'))
    return { is: 'help', text: helpOf(name, verb), exitCode: 0 }
  return { is: 'verb', name, verb, rest }
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h' || word === 'help'
}

function unknown(given: string, names: string[]): string {
  const meant = nearest(given, names)
  return `there is no verb "${given}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`
}

export function overview(): string {
  const lead = 'Millrace: event-time stream processing, exactly once into Postgres.'
  return `${lead}\n\n  millrace <verb> [options]\n  millrace --version\n  npm run -s millrace -- <verb> [options]      in this repository\n\n${listed(Object.keys(verbs))}`
}

// Lines fit 80 columns.
const helpWidth = 79

function listed(names: string[]): string {
  const lines = labelledLines(pairsOf(names.map((name) => [name, verbs[name]?.says ?? ''])))
  return `${lines.join('\n')}\n\nmillrace <verb> --help says more of each.\n`
}

export function helpOf(name: string, verb: Verb): string {
  const options = labelledLines(
    pairsOf(Object.entries(verb.options).map(([option, { says }]) => [`--${option}`, says])),
  )
  return [
    wrapped(verb.says, helpWidth).join('\n'),
    usageLines(`millrace ${name} ${verb.usage}`).join('\n'),
    ...(options.length === 0 ? [] : [options.join('\n')]),
    `examples:\n${verb.examples.map((example) => `  ${example}`).join('\n')}\n`,
  ].join('\n\n')
}

// `[--limit N]` stays on one line.
function usageLines(usage: string): string[] {
  const whole = usage.trimEnd().replace(/\[[^\]]*\]/g, (part) => part.replaceAll(' ', '\u00a0'))
  return wrapped(whole, helpWidth - 6).map((line, i) => `${i === 0 ? '  ' : '      '}${line.replaceAll('\u00a0', ' ')}`)
}

function pairsOf(pairs: [label: string, says: string][]): [string, string][] {
  const room = helpWidth - 4 - Math.max(0, ...pairs.map(([label]) => label.length))
  return pairs.map(([label, says]) => [label, wrapped(says, room).join('\n')])
}

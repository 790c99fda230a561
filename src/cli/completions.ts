import { systems } from '../../pipelines/index.ts'
import { MillraceError } from '../errors.ts'
import { bashScript, fishScript, zshScript } from './completion-scripts.ts'
import type { Verb, VerbOption } from './verb.ts'

/** What may stand where on a command line, for the scripts. */
export interface Grammar {
  verbs: CompletedVerb[]
  /** First words of verbs of two: `dead-letters`. */
  groups: string[]
  pipelines: string[]
}

export interface CompletedVerb {
  name: string
  says: string
  options: CompletedOption[]
  /** What its words are: pipelines (or paths of own ones), some of these, or nothing a shell could know. */
  words: Completed
}

export interface CompletedOption {
  name: string
  says: string
  multiple: boolean
  /** Undefined for a switch. */
  value: Completed | undefined
}

export type Completed =
  | { is: 'pipelines' }
  | { is: 'paths' }
  | { is: 'some of'; values: readonly string[] }
  | { is: 'anything' }

const shells = { bash: bashScript, zsh: zshScript, fish: fishScript } as const

/** The verb that prints completions; it is handed the verbs, being one of them. */
export function completionsOf(verbs: () => Record<string, Verb>): Verb {
  return {
    says: 'Prints a script that completes verbs, options and pipelines in your shell.',
    usage: `<${Object.keys(shells).join('|')}>`,
    options: {},
    examples: [
      'millrace completions bash >> ~/.bashrc',
      'millrace completions zsh > ~/.zfunc/_millrace',
      'millrace completions fish > ~/.config/fish/completions/millrace.fish',
    ],
    async run({ words: [shell, ...more], out }) {
      const script = Object.entries(shells).find(([name]) => name === shell)?.[1]
      if (script === undefined || more.length > 0) {
        throw new MillraceError('WRONG_USAGE', {
          message:
            shell === undefined ? 'for which shell?' : `there are no completions for "${[shell, ...more].join(' ')}"`,
          hint: `there are some for ${Object.keys(shells).join(', ')}`,
        })
      }
      out(script(grammarOf(verbs())).trimEnd())
      return 0
    },
  }
}

export function grammarOf(verbs: Record<string, Verb>): Grammar {
  return {
    verbs: Object.entries(verbs).map(([name, { says, usage, options }]) => ({
      name,
      says,
      options: Object.entries({ ...options, help: help }).map(([option, spec]) => completedOption(option, spec)),
      words: wordsOf(usage),
    })),
    groups: [...new Set(Object.keys(verbs).flatMap((name) => (name.includes(' ') ? [name.split(' ')[0] ?? ''] : [])))],
    pipelines: systems.map(({ name }) => name),
  }
}

const help: VerbOption = { type: 'boolean', says: 'say more of this verb' }

function completedOption(name: string, { type, multiple = false, says, takes }: VerbOption): CompletedOption {
  return { name, says, multiple, value: type === 'boolean' ? undefined : completed(takes) }
}

function completed(takes: VerbOption['takes']): Completed {
  if (takes === undefined) return { is: 'anything' }
  if (takes === 'a pipeline') return { is: 'pipelines' }
  return takes === 'a path' ? { is: 'paths' } : { is: 'some of', values: takes }
}

// `<pipeline> ...`, `[pipeline...] ...`, `<bash|zsh|fish>`
function wordsOf(usage: string): Completed {
  const [, word = ''] = /^[<[]([a-z|]+)(?:\.\.\.)?[>\]]/.exec(usage) ?? []
  if (word === 'pipeline') return { is: 'pipelines' }
  return word.includes('|') ? { is: 'some of', values: word.split('|') } : { is: 'anything' }
}

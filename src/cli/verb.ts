/** What a verb of the command line is. */
import type { ParseArgsOptionsConfig } from 'node:util'
import { MillraceError } from '../errors.ts'

export interface Verb {
  /** One sentence. */
  says: string
  /** What follows the verb: `<pipeline> [--input PATH...]`. */
  usage: string
  options: Record<string, VerbOption>
  /** More of them, that what is named in this command line brings. */
  ownOptions?(args: string[]): Promise<Record<string, VerbOption>>
  examples: string[]
  /** Answers the exit code: 0 done, 1 failed, 2 wrong usage. */
  run(call: Call): Promise<number>
}

export interface VerbOption {
  type: 'string' | 'boolean'
  multiple?: boolean
  says: string
  /** What a shell may complete its value with; without it, nothing. */
  takes?: 'a pipeline' | 'a path' | readonly string[]
}

export type Options = Record<string, string | boolean | string[] | undefined>

export interface Call {
  words: string[]
  options: Options
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal
  out: (line: string) => void
}

export function parseOptions(options: Record<string, VerbOption>): ParseArgsOptionsConfig {
  return Object.fromEntries(
    Object.entries(options).map(([name, { type, multiple }]) => [name, { type, ...(multiple ? { multiple } : {}) }]),
  )
}

export const jsonOption = { json: { type: 'boolean', says: 'print JSON, for programs' } } as const

export function textOption(options: Options, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** Every value of an option that may be repeated. */
export function textsOption(options: Options, name: string): string[] {
  const value = options[name]
  return Array.isArray(value) ? value : []
}

export function wholeNumberOption(options: Options, name: string): number | undefined {
  const text = textOption(options, name)
  return text === undefined ? undefined : wholeNumber(`--${name}`, text)
}

export function wholeNumber(at: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new MillraceError('WRONG_USAGE', { at, message: `"${text}" is not a whole number` })
}

/** A verb that takes no further words says so instead of ignoring them. */
export function noWords(words: string[]): void {
  if (words.length === 0) return
  throw new MillraceError('WRONG_USAGE', { message: `what is "${words[0]}"?`, hint: 'nothing is expected there' })
}

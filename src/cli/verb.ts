/** What a verb of the command line is. */
import type { ParseArgsOptionsConfig } from 'node:util'

export interface Verb {
  /** One sentence. */
  says: string
  /** What follows the verb: `<pipeline> [--input PATH...]`. */
  usage: string
  options: Record<string, VerbOption>
  examples: string[]
  /** Answers the exit code: 0 done, 1 failed, 2 wrong usage. */
  run(call: Call): Promise<number>
}

export interface VerbOption {
  type: 'string' | 'boolean'
  multiple?: boolean
  says: string
}

export interface Call {
  words: string[]
  options: Record<string, string | boolean | string[] | undefined>
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

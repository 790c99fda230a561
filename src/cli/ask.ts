import { createInterface } from 'node:readline/promises'
import { MillraceError } from '../errors.ts'

/** Asks the person at the terminal. Ctrl-C is an answer too, an empty one. */
export async function ask(question: string, signal: AbortSignal): Promise<string> {
  if (process.stdin.isTTY !== true) {
    throw new MillraceError('WRONG_USAGE', {
      message: 'there is nobody to ask',
      hint: 'say that it is meant with --yes',
    })
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return (await terminal.question(question, { signal })).trim()
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'AbortError') throw error
    process.stderr.write('\n')
    return ''
  } finally {
    terminal.close()
  }
}

/** `start`, and again whenever a source file changes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Verb } from './verb.ts'
import { noWords } from './verb.ts'

export const dev: Verb = {
  says: 'Runs everything as start does, and begins anew whenever a file of src/ or pipelines/ changes.',
  usage: '[--demo]',
  options: { demo: { type: 'boolean', says: 'also feed the pipelines gently with sample data' } },
  examples: ['millrace dev', 'millrace dev --demo'],
  async run({ words, options, signal }) {
    noWords(words)
    const root = fileURLToPath(new URL('../../', import.meta.url))
    const main = fileURLToPath(new URL('./main.ts', import.meta.url))
    const watched = ['src', 'pipelines'].map((folder) => `--watch-path=${root}${folder}`)
    const verb = ['start', ...(options['demo'] === true ? ['--demo'] : [])]
    const child = spawn(process.execPath, ['--watch-preserve-output', ...watched, main, ...verb], { stdio: 'inherit' })
    const passOn = (): void => {
      child.kill(signal.reason)
    }
    signal.addEventListener('abort', passOn)
    // as: `exit` tells the code, or null and the signal
    const [code] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return signal.aborted ? 0 : (code ?? 1)
  },
}

/** `start`, and again whenever a source file, or the file of a pipeline that was named, changes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isModulePath } from './own-system.ts'
import type { Verb } from './verb.ts'

export const dev: Verb = {
  says: 'Runs everything as start does, and begins anew whenever a file of src/ or pipelines/, or one you named, changes.',
  usage: '[pipeline...] [--demo]',
  options: { demo: { type: 'boolean', says: 'also feed the pipelines gently with sample data' } },
  examples: ['millrace dev', 'millrace dev --demo', 'millrace dev ./orders.ts'],
  async run({ words, options, signal }) {
    const root = fileURLToPath(new URL('../../', import.meta.url))
    const main = fileURLToPath(new URL('./main.ts', import.meta.url))
    const own = words.filter(isModulePath).map((path) => resolve(path))
    const watched = [`${root}src`, `${root}pipelines`, ...own].map((path) => `--watch-path=${path}`)
    const verb = ['start', ...words, ...(options['demo'] === true ? ['--demo'] : [])]
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

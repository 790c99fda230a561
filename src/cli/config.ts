import { envExample } from '../config.ts'
import { readConfig, systemSettings } from './open.ts'
import { labelledLines, printable, tableLines } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const config: Verb = {
  says: 'Shows every setting as it was resolved, and where its value came from; secrets are masked.',
  usage: '[--env-example] [--json]',
  options: {
    'env-example': {
      type: 'boolean',
      says: 'print the text of .env.example: every variable, its default and its meaning',
    },
    ...jsonOption,
  },
  examples: ['millrace config', 'millrace config --env-example > .env'],
  async run({ words, options, out }) {
    noWords(words)
    if (options['env-example'] === true) {
      out(envExample(systemSettings()).trimEnd())
      return 0
    }
    const { config: resolved } = readConfig()
    const database = resolved.database?.from ?? 'embedded'
    if (options['json'] === true) {
      const { dataDirectory, warnings } = resolved
      out(JSON.stringify({ settings: resolved.resolved, data_directory: dataDirectory, database, warnings }))
      return 0
    }
    const rows = resolved.resolved.map(({ name, value, from }) => [name, printable(value) || '-', from])
    for (const line of tableLines([{ title: 'variable' }, { title: 'value' }, { title: 'from' }], rows)) out(line)
    out('')
    const says = database === 'embedded' ? 'the embedded Postgres, as no variable names another' : `as ${database} says`
    for (const line of labelledLines(
      [
        ['data', resolved.dataDirectory],
        ['database', says],
      ],
      '',
    ))
      out(line)
    return 0
  },
}

import { ownMigrations, readMigrations } from '../store/migrations.ts'
import { openStore, readConfig, systemMigrations } from './open.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const migrate: Verb = {
  says: "Brings the database up to date: Millrace's own tables, and those of the pipelines. Every start does it too.",
  usage: '[--print] [--json]',
  options: {
    print: { type: 'boolean', says: 'print the SQL of all migrations in order, and touch no database' },
    ...jsonOption,
  },
  examples: ['millrace migrate', 'millrace migrate --print > millrace.sql'],
  async run({ words, options, signal, out }) {
    noWords(words)
    const json = options['json'] === true
    if (options['print'] === true) {
      for (const { owner, name, sql } of await readMigrations([ownMigrations, ...systemMigrations()])) {
        out(json ? JSON.stringify({ owner, name, sql }) : `-- ${owner}/${name}\n${sql.trimEnd()}\n`)
      }
      return 0
    }
    const { config, log } = readConfig()
    await using opened = await openStore(config, log, { signal })
    const { applied } = opened.store
    for (const { owner, name } of applied) out(json ? JSON.stringify({ owner, name }) : `applied ${owner}/${name}`)
    if (applied.length === 0 && !json) out('nothing to do: the database is up to date')
    return 0
  },
}

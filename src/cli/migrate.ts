import { migrationScript, ownMigrations, readMigrations } from '../store/migrations.ts'
import { openStore, readConfig, systemMigrations } from './open.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const migrate: Verb = {
  says: "Brings the database up to date: Millrace's own tables, and those of the pipelines. Every start does it too.",
  usage: '[--print] [--json]',
  options: {
    print: { type: 'boolean', says: 'print the SQL that does it to an empty database, and touch none' },
    ...jsonOption,
  },
  examples: ['millrace migrate', 'millrace migrate --print | psql mydatabase'],
  async run({ words, options, signal, out }) {
    noWords(words)
    const json = options['json'] === true
    if (options['print'] === true) {
      const script = migrationScript(await readMigrations([ownMigrations, ...systemMigrations()]))
      if (json) for (const part of script) out(JSON.stringify(part))
      else out([head, ...script.map(({ owner, name, sql }) => `-- ${owner}: ${name}\n${sql}\n`), 'commit;'].join('\n'))
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

const head = `-- For an empty database; the next start finds nothing to do. Millrace's own role must be able to use what this makes:
-- run it as that role, or afterwards
--   grant usage on schema millrace to the_role;
--   grant select, insert, update, delete, truncate on all tables in schema millrace to the_role;
-- and the same for the tables of the pipelines, with their sequences.
begin;
`

import { join } from 'node:path'
import { forgetRuns, runsFolder } from '../engine/keyed-run.ts'
import { ownerName, planOf } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import { identifier } from '../plan/identifier.ts'
import type { Plan } from '../plan/plan.ts'
import { listFolder } from '../sources/files/claims.ts'
import { filesSources } from '../sources/files/waiting.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { Lease } from '../store/store.ts'
import { ask } from './ask.ts'
import { dropNow } from './drop-now.ts'
import { commandLog, openStore, readConfig, shortWaitMs, systemNamed } from './open.ts'
import { counted, number } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const reset: Verb = {
  says: 'Makes a pipeline forget what it has read: positions, files, state and ledger; with --results its tables too.',
  usage: '<pipeline> [--results] [--yes] [--json]',
  options: {
    results: { type: 'boolean', says: 'also empty its tables, and drop its dead letters and late rows' },
    yes: { type: 'boolean', says: 'do not ask' },
    ...jsonOption,
  },
  examples: ['millrace reset shop-events', 'millrace reset shop-events --results --yes'],
  async run({ words: [name, ...more], options, signal, out }) {
    const system = await systemNamed(name)
    noWords(more)
    const { config } = readConfig()
    const plan = planOf(system, config)
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const { store } = opened
    const before = await standingOf(
      store,
      plan,
      options['results'] === true ? (system.tables?.results ?? []) : undefined,
    )
    const json = options['json'] === true
    if (before === undefined) {
      out(
        json
          ? JSON.stringify({ pipeline: plan.name, reset: false })
          : `${plan.name} was never started on this database; there is nothing to forget`,
      )
      return 0
    }
    if (options['yes'] !== true && !(await agreed(before, plan, signal))) {
      process.stderr.write('nothing was changed\n')
      return 1
    }
    const lease = await borrow(store, plan.name, signal)
    try {
      await store.reset(
        plan,
        before.tables.map(({ table }) => tableName(table)),
        await thoseThere(store, system.tables?.positions ?? []),
        system.tables?.cachedAs ?? [],
      )
      await forgetRuns(runsFolder(config.dataDirectory), plan.name)
      // makes the tables of a plan that has changed
      await store.register(plan)
    } finally {
      await lease.release().catch(() => {})
    }
    await dropNow(store, config)
    if (json) out(JSON.stringify({ pipeline: plan.name, reset: true, batches: before.batches, emptied: before.tables }))
    else for (const line of await afterwards(before, plan)) out(line)
    return 0
  },
}

interface Before {
  batches: number
  files: number
  deadLetters: number
  /** Tables that will be emptied. */
  tables: { table: string; rows: number }[]
}

const tableName = (table: string): string => identifier(...table.split('.'))

// As statements name them.
async function thoseThere(store: PostgresStore, tables: readonly string[]): Promise<string[]> {
  const there: string[] = []
  for (const name of tables.map(tableName)) {
    const [row] = await store.select('select to_regclass($1) is not null as there', [name])
    if (row?.['there'] === true) there.push(name)
  }
  return there
}

// With the tables that are to be emptied: those of its plan, and others.
async function standingOf(
  store: PostgresStore,
  plan: Plan,
  results: readonly string[] | undefined,
): Promise<Before | undefined> {
  const [row] = await store.select(
    `
    select plan,
           (select count(*)::int from millrace.batches b where b.pipeline = p.pipeline) as batches,
           (select count(*)::int from millrace.files f where f.pipeline = p.pipeline) as files,
           (select count(*)::int from millrace.dead_letters d where d.pipeline = p.pipeline) as letters
    from   millrace.pipelines p
    where  pipeline = $1`,
    [plan.name],
  )
  if (row === undefined) return undefined
  // as: the columns of the statement above; the plan is the one it was started with, whose tables it wrote
  const stored = row as { plan: Plan; batches: number; files: number; letters: number }
  const tables: Before['tables'] = []
  const written = stored.plan.steps.flatMap((step) => (step.op === 'table' ? [step.table] : []))
  for (const table of results === undefined ? [] : new Set([...written, ...results])) {
    const [name] = await thoseThere(store, [table])
    if (name === undefined) continue
    const [counted] = await store.select(`select count(*)::bigint as rows from ${name}`)
    tables.push({ table, rows: Number(counted?.['rows'] ?? 0) })
  }
  return { batches: stored.batches, files: stored.files, deadLetters: stored.letters, tables }
}

async function agreed(before: Before, plan: Plan, signal: AbortSignal): Promise<boolean> {
  const { batches, files, tables, deadLetters } = before
  const lines = [
    `${plan.name} will forget ${counted(batches, 'batch', 'batches')} and ${counted(files, 'file')} it has read.`,
  ]
  for (const { table, rows } of tables) lines.push(`The table ${table} will be emptied of ${counted(rows, 'row')}.`)
  if (tables.length > 0) lines.push(`${counted(deadLetters, 'dead letter')} will be dropped.`)
  process.stderr.write(`${lines.join('\n')}\n`)
  return (await ask(`This cannot be undone. Type ${plan.name} to go on: `, signal)) === plan.name
}

// Nothing may run meanwhile. A worker that runs lends its lease, and goes on when it gets it back.
async function borrow(store: PostgresStore, pipeline: string, signal: AbortSignal): Promise<Lease> {
  const answer = await store.lease({
    pipeline,
    owner: ownerName(),
    borrow: true,
    signal,
    onWanted: () => {},
    onLost: () => {},
  })
  if (answer.is === 'taken') return answer.lease
  throw new MillraceError('LEASE_HELD', {
    at: pipeline,
    message: `${answer.by} does not lend it`,
    hint: 'stop it, or try again',
  })
}

async function afterwards({ batches, tables }: Before, plan: Plan): Promise<string[]> {
  const lines = [`${plan.name} has forgotten ${counted(batches, 'batch', 'batches')}`]
  for (const { table, rows } of tables) lines.push(`${table} is empty; it had ${number(rows)} rows`)
  const kept = plan.steps.flatMap((step) => (step.op === 'table' ? [step.table] : []))
  if (tables.length === 0 && kept.length > 0)
    lines.push(`${kept.join(', ')} was left as it is: rows read again will be duplicates there`)
  for (const { folder } of filesSources(plan)) {
    const done = await listFolder(join(folder, 'done')).catch(() => undefined)
    if (done !== undefined && done.files.length > 0)
      lines.push(`to read ${counted(done.files.length, 'old file')} again, move them from ${folder}/done to ${folder}`)
  }
  return lines
}

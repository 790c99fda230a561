/**
 * What a replay of dead letters would do: batch after batch they are staged and judged as in earnest, and nothing is
 * committed. What would have landed is remembered in DuckDB, for there may be millions. (What a dedup step lets pass is
 * known within a batch only.)
 */

import { deadLettersSql, failuresOf } from '../operators/validate.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { makesRows, type Plan, type TableStep, takesInputRows } from '../plan/plan.ts'
import { keyTooLongName, postgresType, refusedName } from '../sinks/table.ts'
import type { Limits, SourceReader } from '../sources/source.ts'
import type { PostgresStore } from '../store/postgres.ts'
import { type Batch, type BatchTools, operateBatch, stageBatch } from './batch.ts'

export interface Forecast {
  id: number
  would: 'land' | 'fail again' | 'be a duplicate' | 'be filtered'
  /** Of the new dead letter. */
  code: string | null
  why: string
}

export interface ForecastCount extends Pick<Forecast, 'would' | 'code'> {
  letters: number
}

export interface DryRunTools extends Omit<BatchTools, 'store'> {
  store: PostgresStore
  apart: string
}

/** Tells of each letter what would become of it, in the order of their numbers, and answers how many of each there are. */
export async function dryRun(
  tools: DryRunTools,
  reader: SourceReader,
  limits: Limits,
  tell: (forecast: Forecast) => void,
): Promise<ForecastCount[]> {
  const counts = new Map<string, ForecastCount>()
  const judging = { ...tools, plan: withoutState(tools.plan) }
  await tools.session.run(`create schema ${landedIn(tools)}`)
  for (let number = 1; ; number++) {
    const range = await reader.next(limits)
    if (range === undefined) return [...counts.values()].sort((a, b) => b.letters - a.letters)
    const batch = await stageBatch(judging, number, range, new Date())
    try {
      await operateBatch(judging, batch)
      for await (const page of pagesOf<Forecast>(tools, await judge(tools, batch))) {
        for (const forecast of page) {
          tell(forecast)
          const { would, code } = forecast
          const count = counts.get(`${would} ${code}`) ?? { would, code, letters: 0 }
          counts.set(`${would} ${code}`, { ...count, letters: count.letters + 1 })
        }
      }
    } finally {
      await batch.release()
    }
  }
}

/** Where it keeps, in a table for each sink, the keys of the rows that would be there by now. */
export function landedIn({ apart }: Pick<DryRunTools, 'apart'>): string {
  return identifier(`would have landed ${apart}`)
}

// Whether a row comes too late for its windows depends on when it comes, and what is kept of them is not looked at here.
function withoutState(plan: Plan): Plan {
  return { ...plan, steps: plan.steps.filter((step) => !makesRows(step) && takesInputRows(plan, step)) }
}

const lettersAtOnce = 5000

async function* pagesOf<Row extends { id: number }>(
  { session }: Pick<DryRunTools, 'session'>,
  relation: string,
): AsyncGenerator<Row[]> {
  let after = 0
  for (;;) {
    const page = await session.rows<Row & Record<string, unknown>>(`
      select * replace (id::double as id)
      from ${relation}
      where id > ${after}
      order by id
      limit ${lettersAtOnce}`)
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last.id
  }
}

// The first step that drops a row decides, unless another branch takes it.
async function judge(tools: DryRunTools, batch: Batch): Promise<string> {
  const { session } = tools
  const { names, plan } = batch
  const notes = `${names.schema}.notes`
  const forecasts = `${names.schema}.forecasts`
  await session.run(`create table ${notes} (id bigint, step integer, would varchar, code varchar, why varchar)`)
  for (const [i, step] of plan.steps.entries()) {
    const out = names.of(step.id)
    const input = names.into(step)
    const note = async (would: Forecast['would'], rows: string): Promise<void> => {
      await session.run(`insert into ${notes} select _row, ${i}, ${sqlText(would)}, code, why from (${rows})`)
    }
    const missing = (why: string): string => saySql(`${input} where _row not in (select _row from ${out})`, why)
    switch (step.op) {
      case 'validate':
        if (failuresOf(step).length > 0) {
          const where = { source: step.from[0] ?? '', ...batch.range.where }
          const letters = deadLettersSql(step, names.staged, where)
          await note('fail again', `select _row, code, message as why from (\n${letters}\n)`)
        }
        break
      case 'filter':
        await note('be filtered', missing(`the step ${step.id} filters it`))
        break
      case 'dedup':
        await note('be a duplicate', missing('a row of its key has passed before'))
        break
      case 'table':
        await judgeTable(tools, batch, step, note)
        break
      case 'files':
        // what the file has of a table's rows, the table has judged
        if (step.landedIn === undefined) await note('land', saySql(input, `into a file in ${step.folder}`))
        break
      case 'topic':
        if (step.landedIn === undefined) await note('land', saySql(input, `as a message to ${step.topic}`))
        break
      case 'select':
      case 'enqueue':
        break
    }
  }
  for (const step of tools.plan.steps) {
    if (!makesRows(step) || !takesInputRows(tools.plan, step)) continue
    for (const id of step.from.filter((from) => plan.steps.some((each) => each.id === from))) {
      const why = `into what ${step.id} keeps, unless it comes too late`
      await session.run(
        `insert into ${notes} select _row, ${tools.plan.steps.length}, 'land', code, why from (${saySql(names.of(id), why)})`,
      )
    }
  }
  await session.run(`
    create table ${forecasts} as
    select id, unnest(arg_min({'would': would, 'code': code, 'why': why}, case would when 'land' then -1 else step end))
    from ${notes}
    group by id
    order by id`)
  return forecasts
}

async function judgeTable(
  tools: DryRunTools,
  batch: Batch,
  step: TableStep,
  note: (would: Forecast['would'], rows: string) => Promise<void>,
): Promise<void> {
  const out = batch.names.of(step.id)
  const input = batch.names.into(step)
  if (step.mode.is === 'append') {
    await note('land', saySql(out, `into ${step.table}`))
    return
  }
  const keyText = step.mode.key.join(', ')
  const long = keyTooLongName(out)
  await note(
    'fail again',
    `select _row, 'KEY_TOO_LONG' as code, 'its key is longer than an index holds' as why from ${long}`,
  )
  if (batch.names.refused.has(step.id))
    await note('fail again', `select _row, code, message as why from ${refusedName(out)}`)
  const { there, first } = await meetTable(tools, batch, step, step.mode.key)
  const held = `${out} where _row in (select id from ${there})`
  await note('land', saySql(`${out} where _row in (select id from ${first})`, `into ${step.table}`))
  const repeated = `another of these has the same ${keyText}`
  if (step.mode.is === 'upsert') {
    const others = `${input} where _row not in (select _row from ${out}) and _row not in (select _row from ${long})`
    await note('land', saySql(held, `in place of the row that ${step.table} has`))
    await note('land', saySql(others, repeated))
  } else {
    const others = `${out} where _row not in (select id from ${there} union all select id from ${first})`
    await note('be a duplicate', saySql(held, `${step.table} has a row of its ${keyText}`))
    await note('be a duplicate', saySql(others, repeated))
  }
}

function saySql(rows: string, why: string): string {
  return `select _row, null as code, ${sqlText(why)} as why from ${rows}`
}

// Two relations of row numbers: which of the step's rows meet one of their key in the target table, or in what would be
// there by now; and of all others the first of each key.
async function meetTable(
  tools: DryRunTools,
  batch: Batch,
  step: TableStep,
  key: string[],
): Promise<{ there: string; first: string }> {
  const { session, store } = tools
  const going = `${batch.names.schema}.${identifier(`${step.id} going`)}`
  const there = `${batch.names.schema}.${identifier(`${step.id} there`)}`
  const first = `${batch.names.schema}.${identifier(`${step.id} first`)}`
  const keys = `${landedIn(tools)}.${identifier(step.id)}`
  const texts = key.map((name) => `${identifier(name)}::varchar`)
  const names = key.map((_, i) => `k${i}`)
  await session.run(`
    create view ${going} as
    -- a list as JSON: no two keys look alike
    select _row as id, to_json([${texts.join(', ')}])::varchar as key, ${texts.map((text, i) => `${text} as k${i}`).join(', ')}
    from ${batch.names.of(step.id)}`)
  await session.run(`create table if not exists ${keys} (key varchar)`)
  await session.run(`create table ${there} as select id from ${going} where key in (select key from ${keys})`)
  const same = key.map((name, i) => {
    const column = step.columns.find((candidate) => candidate.name === name)
    const given = `given.k${i}::${column === undefined ? 'text' : postgresType(column.type)}`
    return `target.${identifier(name)} ${column?.nullable ? 'is not distinct from' : '='} ${given}`
  })
  for await (const page of pagesOf<{ id: number } & Record<string, unknown>>(tools, going)) {
    const found = await store.select(
      `
      select given.id
      from   unnest($1::bigint[], ${names.map((_, i) => `$${i + 2}::text[]`).join(', ')}) given(id, ${names.join(', ')})
      where  exists (select from ${identifier(...step.table.split('.'))} target where ${same.join(' and ')})`,
      [page.map(({ id }) => id), ...names.map((name) => page.map((row) => row[name] ?? null))],
    )
    if (found.length > 0)
      await session.run(`insert into ${there} select unnest([${found.map(({ id }) => id).join(', ')}])`)
  }
  await session.run(`
    create table ${first} as
    select min(id) as id, key
    from ${going}
    where id not in (select id from ${there})
    group by key`)
  await session.run(`insert into ${keys} select key from ${first}`)
  return { there, first }
}

/** What a replay of dead letters would do: the batch is staged and judged as in earnest, and nothing is committed. */
import { type Batch, type BatchTools, operateBatch, stageBatch } from '../engine/batch.ts'
import { deadLettersSql, failuresOf } from '../operators/validate.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { keyTooLongName, postgresType } from '../sinks/table.ts'
import type { SourceReader } from '../sources/source.ts'
import type { PostgresStore } from '../store/postgres.ts'

export interface Forecast {
  id: number
  would: 'land' | 'fail again' | 'be a duplicate' | 'be filtered'
  code?: string
  why: string
}

export interface DryRunTools extends Omit<BatchTools, 'store'> {
  store: PostgresStore
}

export async function dryRun(
  tools: DryRunTools,
  reader: SourceReader,
  limits: { rows: number; bytes: number },
): Promise<Forecast[]> {
  const forecasts: Forecast[] = []
  for (let number = 1; ; number++) {
    const range = await reader.next(limits)
    if (range === undefined) return forecasts
    const batch = await stageBatch(tools, number, range, new Date())
    try {
      await operateBatch(tools, batch)
      forecasts.push(...(await judge(tools, batch)))
    } finally {
      await batch.release(tools.session)
    }
  }
}

type Found = { row: string; why: string; code?: string }

// The first step that drops a row decides, unless another branch takes it.
async function judge(tools: DryRunTools, batch: Batch): Promise<Forecast[]> {
  const { plan, session } = tools
  const forecasts = new Map<number, Forecast>()
  const note = (would: Forecast['would'], found: Found[]): void => {
    for (const { row, code, why } of found) {
      const id = Number(row)
      const known = forecasts.get(id)
      if (known !== undefined && (known.would === 'land' || would !== 'land')) continue
      forecasts.set(id, { id, would, ...(code === undefined ? {} : { code }), why })
    }
  }
  for (const step of plan.steps) {
    const out = batch.names.of(step.id)
    const missing = (why: string): Promise<Found[]> =>
      session.rows<Found>(`
        select _row as row, '${why}' as why
        from ${batch.names.of(step.from[0] ?? '')}
        where _row not in (select _row from ${out})`)
    switch (step.op) {
      case 'validate':
        if (failuresOf(step).length > 0) {
          const where = { source: step.from[0] ?? '', ...batch.range.where }
          const letters = deadLettersSql(step, { out, staged: batch.names.staged }, where)
          note(
            'fail again',
            await session.rows<Found>(`select _row as row, code, message as why from (\n${letters}\n)`),
          )
        }
        break
      case 'filter':
        note('be filtered', await missing(`the step ${step.id.replaceAll("'", "''")} filters it`))
        break
      case 'dedup':
        note('be a duplicate', await missing('a row of its key has passed before'))
        break
      case 'table':
        await judgeTable(tools, batch, step, note)
        break
      case 'select':
      case 'window':
      case 'pairs':
      case 'total':
      case 'anomalies':
      case 'topic':
      case 'files':
      case 'enqueue':
        break
    }
  }
  return [...forecasts.values()].sort((a, b) => a.id - b.id)
}

async function judgeTable(
  { store, session }: DryRunTools,
  batch: Batch,
  step: TableStep,
  note: (would: Forecast['would'], found: Found[]) => void,
): Promise<void> {
  const out = batch.names.of(step.id)
  const input = batch.names.of(step.from[0] ?? '')
  const rows = (sql: string): Promise<Found[]> => session.rows<Found>(sql)
  if (step.mode.is === 'append') {
    note('land', await rows(`select _row as row, 'into ${step.table}' as why from ${out}`))
    return
  }
  const { key } = step.mode
  const long = keyTooLongName(out)
  note(
    'fail again',
    await rows(
      `select _row as row, 'KEY_TOO_LONG' as code, 'its key is longer than an index holds' as why from ${long}`,
    ),
  )
  const keys = key.map((name, i) => `${identifier(name)}::varchar as k${i}`)
  const going = await session.rows<Record<string, string | null> & { row: string }>(
    `select _row as row, ${keys.join(', ')} from ${out}`,
  )
  const there = await rowsThere(store, step, key, going)
  const keyText = key.join(', ')
  const [held, fresh] = [going.filter(({ row }) => there.has(row)), going.filter(({ row }) => !there.has(row))]
  const described = (found: typeof going, why: string): Found[] => found.map(({ row }) => ({ row, why }))
  note('land', described(fresh, `into ${step.table}`))
  const others = `select _row as row, 'another of these has the same ${keyText.replaceAll("'", "''")}' as why
    from ${input} where _row not in (select _row from ${out}) and _row not in (select _row from ${long})`
  if (step.mode.is === 'upsert') {
    note('land', described(held, `in place of the row that ${step.table} has`))
    note('land', await rows(others))
  } else {
    note('be a duplicate', described(held, `${step.table} has a row of its ${keyText}`))
    note('be a duplicate', await rows(others))
  }
}

// Which of these rows meet one of their key in the target table.
async function rowsThere(
  store: PostgresStore,
  step: TableStep,
  key: string[],
  rows: (Record<string, string | null> & { row: string })[],
): Promise<Set<string>> {
  const columns = key.map((name) => step.columns.find((column) => column.name === name))
  const names = key.map((_, i) => `k${i}`)
  const same = columns.map((column, i) => {
    const given = `given.k${i}::${column === undefined ? 'text' : postgresType(column.type)}`
    return `target.${identifier(key[i] ?? '')} ${column?.nullable ? 'is not distinct from' : '='} ${given}`
  })
  const found = await store.select(
    `
    select given.row
    from   unnest($1::text[], ${names.map((_, i) => `$${i + 2}::text[]`).join(', ')}) given(row, ${names.join(', ')})
    where  exists (select from ${identifier(...step.table.split('.'))} target where ${same.join(' and ')})`,
    [rows.map(({ row }) => row), ...names.map((name) => rows.map((row) => row[name] ?? null))],
  )
  return new Set(found.map(({ row }) => String(row)))
}

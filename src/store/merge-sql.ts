/** The SQL by which staged rows meet those of a target table. */
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'

/** Where a session stages the rows of a sink. */
export function stageName(step: TableStep): string {
  return identifier('pg_temp', `stage ${step.id}`)
}

/** How staged rows meet those that are there, for `explain` too. */
export function mergeSql(step: TableStep, source = stageName(step)): string {
  const target = identifier(...step.table.split('.'))
  const columns = step.columns.map(({ name }) => identifier(name))
  const { mode } = step
  if (mode.is === 'append') return `copy ${target} (${columns.join(', ')}) from stdin`
  const key = mode.key.map((name) => identifier(name))
  const insert = `insert into ${target} (${columns.join(', ')})\nselect ${columns.join(', ')}\nfrom   ${source}\non conflict (${key.join(', ')})`
  if (mode.is === 'insert if new') return `${insert} do nothing`
  const update = updateSql(step)
  return `with merged as (
  ${insert.replaceAll('\n', '\n  ')} ${update}
  -- a row that was not there has never been deleted or replaced
  returning xmax = 0 as inserted
)
select count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as updated
from   merged`
}

/** What becomes of a row whose key is there. */
export function updateSql({ columns, mode }: TableStep): string {
  const key = mode.is === 'append' ? [] : mode.key
  const replaced = columns.filter(({ name }) => !key.includes(name)).map(({ name }) => identifier(name))
  if (mode.is !== 'upsert' || replaced.length === 0) return 'do nothing'
  return `do update set ${replaced.map((name) => `${name} = excluded.${name}`).join(', ')}`
}

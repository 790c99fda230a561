/** What doctor sees of pipelines in the database: their tables, their plans, their workers and what they put aside. */
import { planChange } from '../plan/compatible.ts'
import type { Plan } from '../plan/plan.ts'
import { countWaiting } from '../sources/files/waiting.ts'
import type { Client } from '../store/connection.ts'
import { readStatus } from '../store/ledger.ts'
import type { PipelineStatus } from '../store/store.ts'
import { compareTable } from '../store/tables.ts'
import { type Finding, found, ok } from './finding.ts'
import { counted, duration, number } from './text.ts'

/** Whether the tables that are there can take what pipelines write. */
export async function* targetTables(client: Client, plans: Plan[]): AsyncGenerator<Finding> {
  let tables = 0
  let differing = 0
  for (const plan of plans) {
    for (const step of plan.steps) {
      if (step.op !== 'table') continue
      const fit = await compareTable(client, step)
      if (fit.is !== 'missing') tables++
      if (fit.is !== 'differs') continue
      differing++
      yield found('TABLE_DIFFERS', `${step.table} of ${plan.name}: ${fit.error.message}`, fit.error.hint)
    }
  }
  if (differing > 0) return
  yield ok('tables', tables === 0 ? 'none is there yet; the first start makes them' : 'every one fits its pipeline')
}

/** The plans that pipelines were last started with. */
export async function storedPlans(client: Client): Promise<Plan[]> {
  const { rows } = await client.query<{ plan: Plan }>('select plan from millrace.pipelines order by pipeline')
  return rows.map(({ plan }) => plan)
}

/** What the pipelines of this database have left there; those that do not ship are known by it alone. */
export async function* storedPipelines(client: Client, stored: Plan[], plans: Plan[]): AsyncGenerator<Finding> {
  const known = stored.map((plan) => ({ before: plan, now: plans.find(({ name }) => name === plan.name) ?? plan }))
  yield* changedPlans(known)
  const standing = await readStatus(client)
  yield* owners(
    client,
    standing,
    known.map(({ now }) => now),
  )
  yield* deadLetters(client)
  yield* quarantined(standing)
}

function* changedPlans(known: { before: Plan; now: Plan }[]): Generator<Finding> {
  let changed = 0
  for (const { before, now } of known) {
    const change = planChange(before, now)
    if (change.is !== 'different') continue
    changed++
    yield found(
      'PLAN_CHANGED',
      `${now.name} was started with another plan: ${change.differences.join('; ')}`,
      `take the change back, give the pipeline another name, or forget its state: millrace reset ${now.name}`,
    )
  }
  if (changed === 0) yield ok('plans', 'every one is as its pipeline was started')
}

async function* owners(client: Client, standing: PipelineStatus[], plans: Plan[]): AsyncGenerator<Finding> {
  const { rows: left } = await client.query<{ pipeline: string; owner: string; expired_for_s: number }>(`
    select pipeline, owner, extract(epoch from clock_timestamp() - expires_at)::int as expired_for_s
    from   millrace.leases
    where  owner is not null and expires_at <= clock_timestamp()
    order by pipeline`)
  for (const { pipeline, owner, expired_for_s: seconds } of left) {
    yield found(
      'OWNER_DIED',
      `${owner} ended without giving ${pipeline} back, ${duration(seconds * 1000)} ago`,
      `nothing to mend: the next worker takes it at once. Start one: millrace work ${pipeline}`,
    )
  }
  if (left.length === 0) yield ok('leases', 'every one is free or held by a living worker')
  for (const plan of plans) {
    if (standing.find(({ pipeline }) => pipeline === plan.name)?.owner !== null) continue
    const { waiting, claimed } = await countWaiting(plan)
    if (waiting + claimed === 0) continue
    yield found(
      'NO_OWNER',
      `${counted(waiting + claimed, 'file')} of ${plan.name} wait, and no worker runs it`,
      `start one: millrace work ${plan.name}`,
    )
  }
}

// Fewer rows than this say nothing about the rest.
const fewRows = 100

async function* deadLetters(client: Client): AsyncGenerator<Finding> {
  const { rows: letters } = await client.query<{ pipeline: string; open: number; codes: string }>(`
    select pipeline, sum(n)::int as open, string_agg(n || ' ' || code, ', ' order by n desc) as codes
    from  (select pipeline, code, count(*)::int as n
           from   millrace.dead_letters
           where  settled is null
           group by pipeline, code) by_code
    group by pipeline
    order by pipeline`)
  for (const { pipeline, open, codes } of letters) {
    yield found('DEAD_LETTERS_OPEN', `${pipeline} has ${counted(open, 'open one')}: ${codes}`)
  }
  if (letters.length === 0) yield ok('dead letters', 'none is open')
  const { rows: books } = await client.query<{ pipeline: string; rows_in: number; dead: number }>(
    `
    select pipeline, sum(rows_in)::bigint as rows_in, sum(dead)::bigint as dead
    from   millrace.batches
    where  committed_at > clock_timestamp() - interval '1 hour' and kind <> 'replay'
    group by pipeline
    having sum(rows_in) >= $1 and sum(dead) * 10 >= sum(rows_in)
    order by pipeline`,
    [fewRows],
  )
  for (const { pipeline, rows_in, dead } of books) {
    const percent = Math.round((100 * dead) / rows_in)
    yield found(
      'DEAD_LETTERS_PILING_UP',
      `of ${number(rows_in)} rows of ${pipeline} in the last hour ${number(dead)} were refused: ${percent} %`,
    )
  }
}

function* quarantined(standing: PipelineStatus[]): Generator<Finding> {
  const files = standing.filter(({ filesQuarantined }) => filesQuarantined > 0)
  for (const { pipeline, filesQuarantined } of files) {
    yield found(
      'FILES_QUARANTINED',
      `${counted(filesQuarantined, 'file')} of ${pipeline} could not be read`,
      `millrace sql "select path, code, message from millrace.files where state = 'quarantined' and pipeline = '${pipeline}'"`,
    )
  }
  if (files.length === 0) yield ok('quarantine', 'every file could be read')
}

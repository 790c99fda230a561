/**
 * One owner at a time: a lease in a table, with an epoch that every commit checks. Not an advisory lock, which a stopped
 * process would keep: whoever takes a lease that ran out first ends the owner's sessions, then raises the epoch.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../errors.ts'
import { breakOff, type Client, type Queries } from './connection.ts'
import type { Lease, LeaseAnswer, LeaseRequest } from './store.ts'

/** How long a lease lasts, by the database's clock, and how often its owner renews it. */
export const leaseTimes = { lastsMs: 10_000, renewMs: 3_000, lookMs: 100 }

interface LeaseRow {
  owner: string | null
  epoch: number
  expired: boolean
  expires_in_ms: number
  /** Sessions the owner wrote down, and how many of them are still there. */
  sessions: number
  alive: number
}

const readLease = `
  select l.owner,
         l.epoch,
         l.expires_at <= clock_timestamp() as expired,
         ceil(greatest(0, extract(epoch from (case when l.expires_at = '-infinity' then clock_timestamp() else l.expires_at end) - clock_timestamp())) * 1000)::int as expires_in_ms,
         jsonb_array_length(l.backends) as sessions,
         (select count(*)::int
          from   jsonb_to_recordset(l.backends) b(pid int, started timestamptz)
          join   pg_stat_activity a on a.pid = b.pid
          -- another role's session hides when it began; then it counts as alive, and expiry decides
          where  a.backend_start is null or a.backend_start = b.started) as alive
  from   millrace.leases l
  where  l.pipeline = $1`

/**
 * Takes the lease for two sessions: `work` commits, `watch` renews and listens. Answers who holds it when its owner lives;
 * with `borrow` it asks the owner and waits.
 */
export async function takeLease(
  request: LeaseRequest,
  work: Client,
  watch: Client,
): Promise<{ is: 'taken'; lease: PostgresLease } | Extract<LeaseAnswer, { is: 'held' }>> {
  const { pipeline, owner, borrow, signal } = request
  await watch.query(
    `
    insert into millrace.leases (pipeline)
    select pipeline
    from   millrace.pipelines
    where  pipeline = $1
    -- "on conflict" alone would wait for an owner that was stopped in its commit
    and    not exists (select from millrace.leases where pipeline = $1)
    on conflict do nothing`,
    [pipeline],
  )
  for (;;) {
    const row = await lookAt(watch, pipeline)
    if (isFree(row, owner)) {
      const epoch = await take(request, row, work, watch)
      if (epoch !== undefined) return { is: 'taken', lease: await PostgresLease.hold(request, epoch, work, watch) }
      continue
    }
    if (!borrow || signal?.aborted) {
      if (borrow) await stopAsking(watch, pipeline, owner)
      return heldBy(row)
    }
    await ask(watch, pipeline, owner)
    await sleep(leaseTimes.lookMs)
  }
}

/** Who holds the lease, if its owner lives: for those who stand by, and need no sessions of their own to hear that. */
export async function livingOwner(
  client: Queries,
  { pipeline, owner }: LeaseRequest,
): Promise<Extract<LeaseAnswer, { is: 'held' }> | undefined> {
  const { rows } = await client.query<LeaseRow>(readLease, [pipeline])
  const [row] = rows
  return row === undefined || isFree(row, owner) ? undefined : heldBy(row)
}

// Nobody's, lent to this one, or of an owner that has ended or is stopped.
function isFree(row: LeaseRow, forWhom: string): boolean {
  const lentToMe = row.owner === forWhom && row.sessions === 0
  return lentToMe || row.owner === null || row.expired || (row.sessions > 0 && row.alive === 0)
}

function heldBy(row: LeaseRow): Extract<LeaseAnswer, { is: 'held' }> {
  return { is: 'held', by: row.owner ?? '', expiresInMs: row.expires_in_ms }
}

// The row is never waited for: an owner that was stopped after its epoch check has it locked, and only expiry ends that.
async function ask(client: Client, pipeline: string, owner: string): Promise<void> {
  const { rowCount } = await client.query(
    `
    with free as (
      select pipeline
      from   millrace.leases
      where  pipeline = $1 and owner is not null and wanted_by is null
      for no key update skip locked
    )
    update millrace.leases l
    set    wanted_by = $2
    from   free
    where  l.pipeline = free.pipeline`,
    [pipeline, owner],
  )
  if (rowCount === 1) await client.query(`select pg_notify('millrace_lease', $1)`, [pipeline])
}

// What was lent to the one who gives up goes back at once, and not at its expiry.
async function stopAsking(client: Client, pipeline: string, owner: string): Promise<void> {
  await client.query(
    `
    with mine as (
      select pipeline, owner = $2 and backends = '[]' as lent
      from   millrace.leases
      where  pipeline = $1 and (wanted_by = $2 or owner = $2 and backends = '[]')
      for no key update skip locked
    )
    update millrace.leases l
    set    wanted_by = nullif(l.wanted_by, $2),
           owner = case when not lent then l.owner end,
           lent_by = case when not lent then l.lent_by end,
           expires_at = case when lent then '-infinity' else l.expires_at end
    from   mine
    where  l.pipeline = mine.pipeline`,
    [pipeline, owner],
  )
}

async function lookAt(client: Queries, pipeline: string): Promise<LeaseRow> {
  const { rows } = await client.query<LeaseRow>(readLease, [pipeline])
  const [row] = rows
  if (row) return row
  throw new MillraceError('UNKNOWN_PIPELINE', {
    message: `the store knows no pipeline "${pipeline}"`,
    hint: 'it knows one when it has been started',
  })
}

async function take(request: LeaseRequest, seen: LeaseRow, work: Client, watch: Client): Promise<number | undefined> {
  if (seen.alive > 0) await endSessions(watch, request.pipeline, seen.epoch)
  const { rows } = await watch.query<{ epoch: number }>(
    `
    update millrace.leases
    set    owner = $2,
           epoch = epoch + 1,
           expires_at = clock_timestamp() + $3 * interval '1 millisecond',
           wanted_by = nullif(wanted_by, $2),
           -- while the borrower has it, it stays known who lent it
           lent_by = case when owner = $2 and backends = '[]' then lent_by end,
           doing = null,
           backends = (select jsonb_agg(jsonb_build_object('pid', pid, 'started', backend_start))
                       from   pg_stat_activity
                       where  pid = any($4))
    -- somebody else may have taken it since we looked
    where  pipeline = $1 and epoch = $5
    returning epoch`,
    [request.pipeline, request.owner, leaseTimes.lastsMs, [await pidOf(work), await pidOf(watch)], seen.epoch],
  )
  return rows[0]?.epoch
}

async function pidOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return rows[0]?.pid ?? 0
}

// A session that was stopped after its epoch check holds the lease row; until it is gone nobody could raise the epoch.
async function endSessions(client: Queries, pipeline: string, epoch: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const { rows } = await client.query<{ ended: boolean }>(
      `
      select pg_terminate_backend(a.pid) as ended
      from   millrace.leases l,
             jsonb_to_recordset(l.backends) b(pid int, started timestamptz)
      join   pg_stat_activity a on a.pid = b.pid and a.backend_start = b.started
      where  l.pipeline = $1 and l.epoch = $2`,
      [pipeline, epoch],
    )
    if (rows.length === 0) return
    await sleep(50)
  }
  throw new MillraceError('LEASE_HELD', {
    at: pipeline,
    message: 'the sessions of the last owner do not end',
    hint: 'the role may lack the right to end them: grant pg_signal_backend, or end them by hand',
    retry: true,
  })
}

/**
 * Locks the pipeline's row for the transaction of `writer`, which must not wait for an owner that was stopped in its
 * commit: once its lease has run out its sessions are ended, as a taker of the lease would.
 */
export async function lockPipeline(writer: Queries, reader: Queries, pipeline: string): Promise<void> {
  for (;;) {
    const { rowCount } = await writer.query(
      'select from millrace.pipelines where pipeline = $1 for no key update skip locked',
      [pipeline],
    )
    if (rowCount === 1) return
    const row = await lookAt(reader, pipeline)
    if (row.expired) await endSessions(reader, pipeline, row.epoch)
    await sleep(leaseTimes.lookMs)
  }
}

/** Ends the sessions of owners whose leases ran out, as whoever takes them would: they may keep what they have locked. */
export async function endExpired(client: Queries): Promise<void> {
  const { rows } = await client.query<{ pipeline: string; epoch: number }>(
    'select pipeline, epoch from millrace.leases where owner is not null and expires_at <= clock_timestamp()',
  )
  for (const { pipeline, epoch } of rows) await endSessions(client, pipeline, epoch)
}

/** What is said in between is told with the next renewal. */
const sayEveryMs = 1000

export class PostgresLease implements Lease {
  readonly pipeline: string
  readonly epoch: number
  readonly #request: LeaseRequest
  readonly #work: Client
  readonly #watch: Client
  #renewal: Promise<void> | undefined
  #again = false
  #timer: NodeJS.Timeout | undefined
  #ended = false
  #doing: string | null = null
  #saidAt = Number.NEGATIVE_INFINITY

  private constructor(request: LeaseRequest, epoch: number, work: Client, watch: Client) {
    this.pipeline = request.pipeline
    this.epoch = epoch
    this.#request = request
    this.#work = work
    this.#watch = watch
  }

  static async hold(request: LeaseRequest, epoch: number, work: Client, watch: Client): Promise<PostgresLease> {
    const lease = new PostgresLease(request, epoch, work, watch)
    watch.on('notification', (message) => {
      if (message.channel === 'millrace_lease' && message.payload === request.pipeline) lease.#renew()
    })
    watch.on('end', () => lease.#lost('the session that renews the lease ended'))
    await watch.query('listen millrace_lease')
    lease.#timer = setInterval(() => lease.#renew(), leaseTimes.renewMs)
    return lease
  }

  says(doing: string): void {
    this.#doing = doing
    if (performance.now() - this.#saidAt < sayEveryMs) return
    this.#saidAt = performance.now()
    this.#renew()
  }

  // Also hears who would like to borrow it; told to hear while it does so, it does so once more.
  #renew(): void {
    if (this.#ended) return
    if (this.#renewal !== undefined) {
      this.#again = true
      return
    }
    this.#again = false
    this.#renewal = this.#renewOnce().finally(() => {
      this.#renewal = undefined
      if (this.#again) this.#renew()
    })
  }

  async #renewOnce(): Promise<void> {
    try {
      const { rows } = await this.#watch.query<{ wanted_by: string | null }>(
        `
        update millrace.leases
        set    expires_at = clock_timestamp() + $3 * interval '1 millisecond', doing = $4
        where  pipeline = $1 and epoch = $2
        returning wanted_by`,
        [this.pipeline, this.epoch, leaseTimes.lastsMs, this.#doing],
      )
      if (this.#ended) return
      const [row] = rows
      if (row === undefined) this.#lost('another worker has taken it')
      else if (row.wanted_by !== null) this.#request.onWanted(row.wanted_by)
    } catch (error) {
      this.#lost(error instanceof Error ? error.message : String(error))
      // a server that is silent may never answer, and a commit that waits for it would wait for ever
      for (const client of [this.#work, this.#watch]) breakOff(client)
    }
  }

  #lost(why: string): void {
    if (this.#ended) return
    this.drop()
    this.#request.onLost(why)
  }

  /** Whether it was given back, lent or lost. */
  get ended(): boolean {
    return this.#ended
  }

  /** Stops renewing, and tells nobody: whoever takes the lease anew must not hear of the end of the one before. */
  drop(): void {
    this.#ended = true
    clearInterval(this.#timer)
  }

  async release(): Promise<void> {
    if (this.#ended) return
    this.drop()
    await this.#giveBack()
  }

  async #giveBack(): Promise<void> {
    await this.#renewal
    await this.#watch.query(
      `
      update millrace.leases
      set    owner = null, expires_at = '-infinity', backends = '[]', wanted_by = null, lent_by = null, doing = null
      where  pipeline = $1 and epoch = $2`,
      [this.pipeline, this.epoch],
    )
  }

  async lend(signal: AbortSignal): Promise<void> {
    if (this.#ended) return
    this.drop()
    await this.#renewal
    // The lease passes to the borrower by name, for as long as a lease lasts: if it died meanwhile, expiry gives it back.
    const { rowCount } = await this.#watch.query(
      `
      update millrace.leases
      set    owner = wanted_by, wanted_by = null, lent_by = owner, backends = '[]', doing = null,
             expires_at = clock_timestamp() + $3 * interval '1 millisecond'
      where  pipeline = $1 and epoch = $2 and wanted_by is not null`,
      [this.pipeline, this.epoch, leaseTimes.lastsMs],
    )
    // the borrower has given up, or the lease was taken
    if (rowCount === 0) return await this.#giveBack()
    while (!signal.aborted) {
      const row = await lookAt(this.#watch, this.pipeline)
      if (row.owner === null || row.expired || (row.sessions > 0 && row.alive === 0)) return
      await sleep(leaseTimes.lookMs)
    }
  }
}

/**
 * The store in Postgres 15 or later, embedded or any other. Long because it keeps every promise of the contract in one
 * class; what is a piece of its own (commit, leases, ledger, files, dead letters, tables, migrations) has its own file.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline as pump } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { asDiskFull, MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { planChange } from '../plan/compatible.ts'
import { identifier } from '../plan/identifier.ts'
import { type Plan, planHash, type TableStep } from '../plan/plan.ts'
import type { WriteTransaction } from '../system.ts'
import { noteChanged, noteDrop } from './cache-drops.ts'
import { commitBatch } from './commit.ts'
import {
  type Client,
  clientConfig,
  configOf,
  connect,
  connectPatiently,
  hangUp,
  inTransaction,
  openPool,
  placeOf,
  type ServerConfig,
} from './connection.ts'
import { csvRows, readFields } from './csv-rows.ts'
import { countDeadLetters, discard, editFields, findDeadLetters } from './dead-letters.ts'
import { filesOfBatch, findFiles } from './files.ts'
import { askedAtOnce, keepsByKey, readKeyed, readNextDue } from './keyed-state.ts'
import { copyInto, type TableHabits } from './land-rows.ts'
import { leaseTimes, livingOwner, lockPipeline, type PostgresLease, takeLease } from './leases.ts'
import { foldLedger, readLedger, readStatus } from './ledger.ts'
import { type Migration, type MigrationFolder, migrate, ownMigrations } from './migrations.ts'
import { countOutbox, forgetPublished, readOutbox } from './outbox.ts'
import { Reads, selectOnly } from './reads.ts'
import { requestTask } from './requests.ts'
import { Sessions } from './sessions.ts'
import { dropStaging, makeStaging } from './staged.ts'
import { readState } from './state.ts'
import type {
  BatchCommit,
  CommitOutcome,
  Committed,
  CsvRows,
  DeadLetter,
  DeadLetterCount,
  DeadLetterFilter,
  DeadLetterQuery,
  KeyedQuery,
  LeaseAnswer,
  LeaseRequest,
  LedgerLine,
  LedgerQuery,
  OutboxPage,
  OutboxPlace,
  PipelineStatus,
  StagedRows,
  Store,
  StoredFile,
  StoredState,
} from './store.ts'
import { prepareTable } from './tables.ts'
import { unfitServer } from './unfit-server.ts'

export interface PostgresOptions {
  url: string
  /** How long a server that does not answer is waited for. */
  waitMs: number
  onWait: (why: string) => void
  /** Migrations of systems, beside Millrace's own. */
  migrations: MigrationFolder[]
  signal?: AbortSignal
  /** Answers are kept in a cache outside of the processes. */
  sharedCache?: boolean
}

/** Connects, waiting for the server if need be, and brings the schema up to date. */
export async function openPostgres(options: PostgresOptions): Promise<PostgresStore> {
  const config = clientConfig(options.url)
  const client = await connectPatiently(config, options)
  try {
    const unfit = await unfitServer(client, placeOf(config))
    if (unfit !== undefined) throw unfit
    const applied = await migrate(client, [ownMigrations, ...options.migrations])
    return new PostgresStore(configOf(client), applied, options.sharedCache)
  } finally {
    await client.end()
  }
}

interface Owned {
  lease: PostgresLease
  work: Client
  watch: Client
  habits: TableHabits
}

export class PostgresStore implements Store {
  readonly kind = 'postgres'
  /** The migrations this opening applied. */
  readonly applied: Migration[]
  /** For a server. */
  readonly reads: Reads
  readonly sharedCache: boolean
  readonly #config: ServerConfig
  /** For small questions: a server that does not answer them for as long as a lease lasts has failed. */
  readonly #pool: pg.Pool
  /** For what may rightly take long. */
  readonly #patientPool: pg.Pool
  #answer: Promise<unknown> | undefined
  readonly #owned = new Map<string, Owned>()
  #registered: Promise<void> = Promise.resolve()

  constructor(config: ServerConfig, applied: Migration[], sharedCache = false) {
    this.#config = config
    this.applied = applied
    this.sharedCache = sharedCache
    this.#pool = openPool(config, { max: 4, query_timeout: leaseTimes.lastsMs })
    this.#patientPool = openPool(config, { max: 4 })
    this.reads = new Reads(config)
  }

  // One at a time here too: many that wait for each other would leave no session for the one they wait for.
  async register(plan: Plan): Promise<void> {
    const registered = this.#registered.then(() => this.#register(plan))
    this.#registered = registered.catch(() => {})
    await registered
  }

  async #register(plan: Plan): Promise<void> {
    await inTransaction(this.#patientPool, async (client) => {
      await client.query(`select pg_advisory_xact_lock(hashtext('millrace tables'))`)
      for (const step of plan.steps) {
        if (step.op === 'table') await prepareTable(client, this.#pool, step)
      }
      const hash = planHash(plan)
      const { rows } = await client.query<{ plan_hash: string; plan: Plan; same: boolean }>(
        'select plan_hash, plan, plan = $2 as same from millrace.pipelines where pipeline = $1',
        [plan.name, JSON.stringify(plan)],
      )
      const [stored] = rows
      if (stored?.same) return
      if (stored && stored.plan_hash !== hash) {
        const change = planChange(stored.plan, plan)
        if (change.is === 'different') {
          throw new MillraceError('PLAN_CHANGED', {
            at: plan.name,
            message: `the pipeline was started with another plan: ${change.differences.join('; ')}`,
            hint: `take the change back, give the pipeline another name, or forget its state with: millrace reset ${plan.name}`,
          })
        }
      }
      if (stored) await lockPipeline(client, this.#pool, plan.name)
      await client.query(
        `
        insert into millrace.pipelines (pipeline, plan_hash, plan)
        values ($1, $2, $3)
        on conflict (pipeline) do update
        set    plan_hash = excluded.plan_hash, plan = excluded.plan, updated_at = now()
        where  millrace.pipelines.plan <> excluded.plan`,
        [plan.name, hash, JSON.stringify(plan)],
      )
    })
  }

  async lease(request: LeaseRequest): Promise<LeaseAnswer> {
    const before = this.#owned.get(request.pipeline)
    if (before?.lease.ended) await this.#forget(before)
    const held = request.borrow ? undefined : await livingOwner(this.#pool, request)
    if (held) return held
    const session = (name: string, more: { query_timeout?: number } = {}): Promise<Client> =>
      connect({ ...this.#config, application_name: `millrace ${name}`, ...more })
    const work = await session(request.pipeline)
    // all it asks is small: no answer for as long as a lease lasts is a failure
    const watch = await session(`lease ${request.pipeline}`, { query_timeout: leaseTimes.lastsMs }).catch(
      async (error) => {
        await hangUp(work)
        throw error
      },
    )
    const answer = await takeLease(request, work, watch).catch(async (error) => {
      await hangUp(work, watch)
      throw error
    })
    if (answer.is === 'held') {
      await hangUp(work, watch)
      return answer
    }
    const { lease } = answer
    const owned: Owned = { lease, work, watch, habits: { skipStraight: new Map() } }
    this.#owned.set(request.pipeline, owned)
    return {
      is: 'taken',
      lease: {
        pipeline: lease.pipeline,
        epoch: lease.epoch,
        says: (doing) => lease.says(doing),
        release: async () => {
          if (this.#owns(owned)) await lease.release().finally(() => this.#forget(owned))
        },
        lend: async (signal) => {
          // from here on nothing can be committed under it
          this.#disown(owned)
          await hangUp(work)
          await lease.lend(signal).finally(() => hangUp(watch))
        },
      },
    }
  }

  // A lease that is taken anew gets sessions of its own; those of the old one may be broken.
  async #forget(owned: Owned): Promise<void> {
    this.#disown(owned)
    owned.lease.drop()
    await hangUp(owned.work, owned.watch)
  }

  // Whether it is still this lease's place: it may have been lent, or taken anew.
  #owns(owned: Owned): boolean {
    return this.#owned.get(owned.lease.pipeline) === owned
  }

  #disown(owned: Owned): void {
    if (this.#owns(owned)) this.#owned.delete(owned.lease.pipeline)
  }

  async committed(pipeline: string): Promise<Committed> {
    const { rows } = await this.#pool.query<{ batch: number; epoch: number; watermark: Date | null }>(
      `
      select p.batch, coalesce(l.epoch, 0) as epoch, p.watermark
      from   millrace.pipelines p
      left join millrace.leases l using (pipeline)
      where  p.pipeline = $1`,
      [pipeline],
    )
    const positions = await this.#pool.query<{
      source: string
      partition: string
      position: number
      watermark: Date | null
    }>(
      'select source, partition, position, watermark from millrace.positions where pipeline = $1 order by source, partition',
      [pipeline],
    )
    return {
      batch: rows[0]?.batch ?? 0,
      epoch: rows[0]?.epoch ?? 0,
      positions: positions.rows.map(({ watermark, ...rest }) => ({ ...rest, watermark: watermark?.getTime() })),
      watermark: rows[0]?.watermark?.getTime(),
    }
  }

  async commit(batch: BatchCommit): Promise<CommitOutcome> {
    const owned = this.#owned.get(batch.pipeline)
    if (owned === undefined || owned.lease.epoch !== batch.epoch) {
      throw new MillraceError('LEASE_LOST', { at: batch.pipeline, message: 'this worker does not hold the lease' })
    }
    try {
      return await commitBatch(owned.work, batch, { habits: owned.habits, sharedCache: this.sharedCache })
    } catch (error) {
      const told = error instanceof MillraceError && (error.code === 'COMMIT_UNKNOWN' || error.code === 'LEASE_LOST')
      if (told || !(await this.#wasReplaced(batch))) throw error
      throw new MillraceError('LEASE_LOST', {
        at: `${batch.pipeline} batch ${batch.batch}`,
        message:
          'another worker owns the pipeline now, and ended the session of this one; nothing of this batch was written',
        hint: 'this worker stops or stands by; the other one goes on from what is stored',
        cause: error,
      })
    }
  }

  // A worker whose lease ran out finds its sessions ended: that its successor did it is what counts.
  async #wasReplaced({ pipeline, epoch }: BatchCommit): Promise<boolean> {
    const now = await Promise.race([
      this.committed(pipeline).catch(() => undefined),
      // one that does not answer now is asked when it is back
      sleep(1000, undefined, { ref: false }),
    ])
    return now !== undefined && now.epoch !== epoch
  }

  async files(pipeline: string, source: string, ids: string[]): Promise<Map<string, StoredFile>> {
    return await findFiles(this.#pool, pipeline, source, ids)
  }

  async filesOfBatch(pipeline: string, batch: number): Promise<StoredFile[]> {
    return await filesOfBatch(this.#pool, pipeline, batch)
  }

  async seenKeys(pipeline: string, step: string, keys: CsvRows, into: string): Promise<CsvRows> {
    if (keys.rows <= askedAtOnce) {
      const { rows } = await this.#patientPool.query<{ key: string }>(
        `
        select key
        from   unnest($3::text[]) wanted (key)
        where  exists (select from millrace.dedup_keys d where d.pipeline = $1 and d.step = $2 and d.key = wanted.key)`,
        [pipeline, step, (await readFields(keys)).flat()],
      )
      return await csvRows(
        ['key'],
        rows.map(({ key }) => [key]),
        into,
      )
    }
    return await inTransaction(this.#patientPool, async (client) => {
      await client.query('create temp table wanted (key text not null) on commit drop')
      await copyInto(client, 'copy wanted from stdin (format csv)', keys)
      const { rows } = await client.query<{ literals: string }>(
        `select format('pipeline = %L and step = %L', $1::text, $2::text) as literals`,
        [pipeline, step],
      )
      // copy takes no parameters; format() has quoted the two names
      const found = client.query(
        copyTo(`
          copy (select key
                from   wanted
                where  exists (select from millrace.dedup_keys d where ${rows[0]?.literals ?? 'false'} and d.key = wanted.key))
          to stdout (format csv, force_quote *)`),
      )
      await pump(found, createWriteStream(into)).catch((error) => {
        // it still sends what nobody reads, and would hear of nothing else
        void client.end()
        throw asDiskFull(error, into)
      })
      return { csv: { path: into }, columns: ['key'], rows: found.rowCount }
    })
  }

  async state(pipeline: string, folder: string): Promise<StoredState> {
    return await inTransaction(this.#patientPool, (client) => readState(client, pipeline, folder))
  }

  async keyed(pipeline: string, query: KeyedQuery): Promise<CsvRows> {
    return await readKeyed(this.#patientPool, pipeline, query)
  }

  async keepsByKey(pipeline: string): Promise<boolean> {
    return await keepsByKey(this.#pool, pipeline)
  }

  async nextDue(pipeline: string): Promise<bigint | undefined> {
    return await readNextDue(this.#pool, pipeline)
  }

  async ledger(pipeline: string, query: LedgerQuery): Promise<LedgerLine[]> {
    return await readLedger(this.#pool, pipeline, query)
  }

  async foldLedger(pipeline: string, before: Date, upTo: number): Promise<number> {
    return await inTransaction(this.#patientPool, (client) => foldLedger(client, pipeline, before, upTo))
  }

  async effectCursor(pipeline: string, effect: string): Promise<number> {
    const { rows } = await this.#pool.query<{ batch: number }>(
      'select batch from millrace.effects where pipeline = $1 and effect = $2',
      [pipeline, effect],
    )
    return rows[0]?.batch ?? 0
  }

  async advanceEffect(pipeline: string, effect: string, batch: number): Promise<void> {
    // Not waited for on disk: an effect done twice is harmless.
    await this.#pool.query(
      `
      with hurry as (select set_config('synchronous_commit', 'off', true))
      insert into millrace.effects (pipeline, effect, batch)
      select $1, $2, $3 from hurry
      on conflict (pipeline, effect) do update
      set    batch = greatest(millrace.effects.batch, excluded.batch)`,
      [pipeline, effect, batch],
    )
  }

  async outbox(pipeline: string, after: OutboxPlace, limits: { rows: number; bytes: number }): Promise<OutboxPage> {
    return await readOutbox(this.#pool, pipeline, after, limits)
  }

  async outboxRows(pipeline: string): Promise<number> {
    return await countOutbox(this.#pool, pipeline)
  }

  async forgetPublished(
    pipeline: string,
    published: { after: OutboxPlace; upTo: OutboxPlace; batchDone: number },
  ): Promise<void> {
    await forgetPublished(this.#pool, pipeline, published)
  }

  /** A transaction of a follower; it may take long. */
  async write<T>(system: string, work: (transaction: WriteTransaction) => Promise<T>): Promise<T> {
    await failpoint('follow begun')
    const result = await inTransaction(this.#patientPool, async (client) => {
      const written = await work({
        sql: async (statement, values = []) => (await client.query(statement, values)).rows,
        copy: async (table, columns, path) => {
          const names = columns.map((name) => identifier(name)).join(', ')
          const into = client.query(copyFrom(`copy ${identifier(table)} (${names}) from stdin (format csv)`))
          await pump(createReadStream(path, { highWaterMark: 1024 * 1024 }), into)
        },
        enqueue: (task, keys) => requestTask(client, system, task, keys),
      })
      await failpoint('follow written')
      return written
    })
    await failpoint('follow committed')
    return result
  }

  async deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]> {
    return await findDeadLetters(this.#patientPool, query)
  }

  async countDeadLetters(filter: DeadLetterFilter): Promise<DeadLetterCount[]> {
    return await countDeadLetters(this.#patientPool, filter)
  }

  async editDeadLetter(id: number, fields: Record<string, string | null>): Promise<void> {
    await editFields(this.#patientPool, id, fields)
  }

  async discardDeadLetters(filter: DeadLetterFilter, reason: string): Promise<number> {
    return await discard(this.#patientPool, filter, reason)
  }

  async status(): Promise<PipelineStatus[]> {
    return await readStatus(this.#pool)
  }

  /** Makes empty tables for what another engine is to write of a run, as `writer`; what was left of an earlier try goes. */
  async stage(run: string, steps: readonly TableStep[], writer?: string): Promise<StagedRows> {
    return await inTransaction(this.#patientPool, (client) => makeStaging(client, run, steps, writer))
  }

  /** Removes what `stage` made for runs whose names begin with these words. */
  async unstage(run: string): Promise<void> {
    await inTransaction(this.#patientPool, (client) => dropStaging(client, run))
  }

  /** Runs one select in a read-only transaction, however long it takes. */
  async select(sql: string, parameters: unknown[] = []): Promise<Record<string, unknown>[]> {
    return await selectOnly(this.#patientPool, sql, parameters)
  }

  /** Sessions of their own for who works beside the pipelines: so many at most. */
  sessions(atMost: number): Sessions {
    return new Sessions(this.#config, atMost)
  }

  /** Asks for a task of a pipeline, for each of these keys. */
  async requestTask(pipeline: string, task: string, keys: readonly string[]): Promise<void> {
    await requestTask(this.#pool, pipeline, task, keys)
  }

  /** Whether the database answers: asked once for all who would like to know at a time. */
  async answers(): Promise<void> {
    this.#answer ??= this.#pool.query('select 1').finally(() => {
      this.#answer = undefined
    })
    await this.#answer
  }

  /**
   * Forgets what a pipeline has read: positions, files, state and ledger, and `positions`, tables of its system that say so
   * too. With `tables` it empties them, and its dead letters and the messages that wait. The pipeline stays known, under this
   * plan, and its batches and epochs count on: whoever lent the lease for this goes on, and no name of an effect is used again.
   */
  async reset(plan: Plan, tables: string[], positions: string[] = [], cachedAs: readonly string[] = []): Promise<void> {
    await inTransaction(this.#patientPool, async (client) => {
      for (const name of [...positions, ...tables]) await client.query(`truncate ${name}`)
      for (const step of plan.steps) {
        if (step.op === 'table' && tables.length > 0)
          await noteChanged(client, step, 'more than can be told', this.sharedCache)
      }
      for (const prefix of tables.length > 0 ? cachedAs : []) await noteDrop(client, { prefix }, this.sharedCache)
      const forgotten = [
        'positions',
        'files',
        'batches',
        'dedup_keys',
        'pane_numbers',
        'pane_sets',
        'keyed_state',
        ...(tables.length > 0 ? ['dead_letters', 'late_rows', 'outbox', 'task_requests'] : []),
      ]
      for (const name of forgotten) await client.query(`delete from millrace.${name} where pipeline = $1`, [plan.name])
      await client.query(
        `
        update millrace.pipelines
        set    plan_hash = $2, plan = $3, watermark = null, updated_at = now()
        where  pipeline = $1`,
        [plan.name, planHash(plan), JSON.stringify(plan)],
      )
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const owned of this.#owned.values()) {
      await owned.lease.release().catch(() => {})
      await this.#forget(owned)
    }
    await Promise.all([this.#pool.end(), this.#patientPool.end(), this.reads[Symbol.asyncDispose]()])
  }
}

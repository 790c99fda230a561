/** A bounded run of any plan in this process, over files with these contents, into a Postgres of its own. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duck } from '../src/engine/duckdb.ts'
import type { Progress } from '../src/engine/progress.ts'
import { runPipeline, type WorkerOptions } from '../src/engine/run.ts'
import { createLog } from '../src/log.ts'
import type { Plan } from '../src/plan/plan.ts'
import { openFilesReader } from '../src/sources/files/reader.ts'
import type { Client } from '../src/store/connection.ts'
import { openPostgres, type PostgresStore } from '../src/store/postgres.ts'
import { testDatabase } from './postgres.ts'

/** `publish`: where messages go. */
export type PlanRunOptions = { rows?: number } & Pick<WorkerOptions, 'publish'>

export interface PlanRuns extends AsyncDisposable {
  store: PostgresStore
  client: Client
  /** Runs the plan over these files, by name, until nothing is left; small batches, so that there are some. */
  run(plan: Plan, files: Record<string, string>, options?: PlanRunOptions): Promise<Progress>
}

export async function planRuns(): Promise<PlanRuns> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-run-'))
  const database = await testDatabase()
  const store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  const spools = join(folder, 'spool')
  const duck = await Duck.open({
    folders: [spools],
    temporary: join(folder, 'duckdb'),
    memoryLimitMb: 500,
    threads: 2,
  })
  let runs = 0
  return {
    store,
    client: await database.connect(),
    async run(plan, files, { rows = 100, publish } = {}) {
      const [[id, source] = []] = Object.entries(plan.sources)
      if (id === undefined || source?.is !== 'files') throw new Error('the plan reads no files')
      const number = ++runs
      const inputs = join(folder, `inputs-${number}`)
      await mkdir(inputs)
      for (const [name, content] of Object.entries(files)) await writeFile(join(inputs, name), content)
      await store.register(plan)
      const spool = join(spools, plan.name, String(number))
      using session = await duck.connect()
      return await runPipeline({
        plan,
        store,
        duck,
        spool,
        openReader: () =>
          openFilesReader({
            id,
            source,
            spool,
            sql: session,
            apart: (share) => duck.apart(share),
            known: (ids) => store.files(plan.name, id, ids),
            onProblem: (problem) => {
              throw problem
            },
            inputs: { paths: [inputs], again: false },
          }),
        effects: { quarantine: join(folder, 'error'), logs: join(folder, 'logs') },
        ...(publish ? { publish } : {}),
        limits: { rows, bytes: 1_000_000 },
        intervalMs: 0,
        owner: 'test:1',
        kind: 'backfill',
        bounded: true,
        log: createLog('error', { write: () => {} }),
        signal: new AbortController().signal,
      })
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await duck[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

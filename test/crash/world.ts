/** Where a crash test plays: a folder, a database, the processes in them, and a judge of what they left behind. */
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { breakOff, type Client, clientConfig, connect } from '../../src/store/connection.ts'
import { type Cluster, clusterIn } from './cluster.ts'
import { bytesOf, type InputFile } from './events.ts'
import { eventually, type Millrace, startMillrace } from './process.ts'

export interface World extends AsyncDisposable {
  /** The embedded Postgres in `data`, if it has one. */
  cluster: Cluster
  /** MILLRACE_DATA */
  data: string
  raw: string
  error: string
  /** A folder for files that a bounded run reads where they lie. */
  inputs: string
  sql<Row extends object>(statement: string, parameters?: unknown[]): Promise<Row[]>
  /** Moves files into the watched folder, complete, one after another. */
  drop(files: InputFile[]): Promise<void>
  /** Puts files where a bounded run is to find them. */
  lay(files: InputFile[]): Promise<void>
  /** Another name of the shop's folder. */
  alias(): Promise<string>
  start(args: string[], env?: Record<string, string>): Millrace
  /** What the server says of the pipeline. */
  status(): Promise<Record<string, unknown>>
  /** Waits until all of these files have been read and committed, and every commit has been followed up. */
  drained(files: InputFile[], options?: { withinMs?: number; worker?: Millrace }): Promise<void>
}

/** A world on a server that is there; without one, on the embedded one that Millrace itself starts in its data directory. */
export async function openWorld(database?: { url: string }): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
  const data = join(folder, 'data')
  const shop = join(folder, 'shop')
  const raw = join(shop, 'raw')
  const error = join(shop, 'error')
  const inputs = join(folder, 'inputs')
  for (const path of [raw, inputs]) await mkdir(path, { recursive: true })
  const cluster = await clusterIn(data)
  const started: Millrace[] = []
  let client: Client | undefined
  const world: World = {
    cluster,
    data,
    raw,
    error,
    inputs,
    async sql<Row extends object>(statement: string, parameters: unknown[] = []) {
      if (client === undefined) {
        const fresh = await connect(clientConfig(database?.url ?? (await cluster.url())))
        // the server of some tests goes away now and then; the next question finds it again
        fresh.on('end', () => {
          if (client === fresh) client = undefined
        })
        client = fresh
      }
      return (await client.query<Row>(statement, parameters)).rows
    },
    async drop(files) {
      for (const file of files) {
        // hidden, and on the same disk
        const path = join(raw, `.${file.name}`)
        await writeFile(path, bytesOf(file))
        // as a finished file that is moved in looks
        const before = Date.now() / 1000 - 1
        await utimes(path, before, before)
        await rename(path, join(raw, file.name))
      }
    },
    async lay(files) {
      for (const file of files) await writeFile(join(inputs, file.name), bytesOf(file))
    },
    async alias() {
      const path = join(folder, 'shop-by-another-name')
      await symlink(shop, path)
      return path
    },
    start(args, env = {}) {
      const process = startMillrace(args, folder, {
        MILLRACE_DATA: data,
        SHOP_EVENTS_DIR: shop,
        // so that every effect has something to do
        SHOP_EVENTS_PROCESSED: 'parquet',
        // small batches, so that there are many
        BATCH_MAX_ROWS: '5',
        ...(database === undefined ? {} : { DATABASE_URL: database.url }),
        ...env,
      })
      started.push(process)
      return process
    },
    async status() {
      // as: what a server writes into its data directory, and its answer; the tests compare what they need of it
      const { port } = JSON.parse(await readFile(join(data, 'server.json'), 'utf8')) as { port: number }
      const answer = await fetch(`http://127.0.0.1:${port}/api/pipelines`)
      const { pipelines } = (await answer.json()) as { pipelines: Record<string, unknown>[] }
      const [pipeline] = pipelines
      if (answer.status !== 200 || pipeline === undefined) throw new Error(`the server answered ${answer.status}`)
      return pipeline
    },
    async drained(files, { withinMs = 30_000, worker } = {}) {
      let seen: unknown
      await eventually(
        async () => {
          if (worker?.end !== undefined) throw new Error(worker.story())
          const [now] = await world
            .sql<{ finished: number; effects: number; behind: boolean }>(
              `
              select (select count(*)::int
                      from   millrace.files
                      where  state <> 'reading' and regexp_replace(path, '.*/', '') = any($1)) as finished,
                     (select count(*)::int from millrace.effects) as effects,
                     exists (select from millrace.effects e join millrace.pipelines p using (pipeline) where e.batch < p.batch) as behind`,
              [files.map(({ name }) => name)],
            )
            // the schema may not be there yet, or the server not up again
            .catch(() => [])
          seen = now
          return now !== undefined && now.finished === files.length && now.effects > 0 && !now.behind
        },
        { what: () => `all is read: ${JSON.stringify(seen)}\n${worker?.story() ?? ''}`, withinMs },
      )
    },
    async [Symbol.asyncDispose]() {
      for (const process of started) await process[Symbol.asyncDispose]()
      if (client) breakOff(client)
      await cluster[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return world
}

/** The names in a folder that is perhaps not there. */
export async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.sort()
}

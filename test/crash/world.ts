/** Where a crash test plays: a folder, a database, the processes in them, and a judge of what they left behind. */
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, clientConfig, connect } from '../../src/store/connection.ts'
import { type InputFile, textOf } from './events.ts'
import { eventually, type Millrace, startMillrace } from './process.ts'

export interface World extends AsyncDisposable {
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
  start(args: string[], env?: Record<string, string>): Millrace
  /** Waits until everything dropped has been read, committed and followed up. */
  drained(files: InputFile[], options?: { withinMs?: number; worker?: Millrace }): Promise<void>
}

/** A world on a server that is there; without `url`, on the embedded one that Millrace starts, which `found` finds. */
export async function openWorld(database: { url: string } | { found: (data: string) => Promise<string> }): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
  const data = join(folder, 'data')
  const shop = join(folder, 'shop')
  const raw = join(shop, 'raw')
  const error = join(shop, 'error')
  const inputs = join(folder, 'inputs')
  const outside = join(folder, 'outside')
  for (const path of [raw, inputs, outside]) await mkdir(path, { recursive: true })
  const started: Millrace[] = []
  let client: Client | undefined
  const world: World = {
    data,
    raw,
    error,
    inputs,
    async sql<Row extends object>(statement: string, parameters: unknown[] = []) {
      client ??= await connect(clientConfig('url' in database ? database.url : await database.found(data)))
      try {
        return (await client.query<Row>(statement, parameters)).rows
      } catch (error) {
        // the server of some tests goes away now and then; the next question finds it again
        const broken = client
        client = undefined
        await broken.end().catch(() => {})
        throw error
      }
    },
    async drop(files) {
      for (const file of files) {
        const path = join(outside, file.name)
        await writeFile(path, textOf(file))
        // as a finished file that is moved in looks
        const before = Date.now() / 1000 - 1
        await utimes(path, before, before)
        await rename(path, join(raw, file.name))
      }
    },
    async lay(files) {
      for (const file of files) await writeFile(join(inputs, file.name), textOf(file))
    },
    start(args, env = {}) {
      const process = startMillrace(args, folder, {
        MILLRACE_DATA: data,
        SHOP_EVENTS_DIR: shop,
        // small batches, so that there are many
        BATCH_MAX_ROWS: '5',
        ...('url' in database ? { DATABASE_URL: database.url } : {}),
        ...env,
      })
      started.push(process)
      return process
    },
    async drained(files, { withinMs = 30_000, worker } = {}) {
      let seen: unknown
      await eventually(
        async () => {
          if (worker?.end !== undefined) throw new Error(worker.story())
          const [now] = await world
            .sql<{ finished: number; effects: number; behind: boolean }>(
              `
              select (select count(*)::int from millrace.files where state <> 'reading') as finished,
                     (select count(*)::int from millrace.effects) as effects,
                     exists (select from millrace.effects e join millrace.pipelines p using (pipeline) where e.batch < p.batch) as behind`,
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
      await client?.end().catch(() => {})
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

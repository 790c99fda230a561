import { after, test } from 'node:test'
import { memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import { openPostgres } from '../src/store/postgres.ts'
import { checkDirtyFiles, type Place } from './dirty-files.ts'
import { openBench } from './histories.ts'
import { testDatabase } from './postgres.ts'

const files = Number(process.env['MILLRACE_DIRTY_FILES'] ?? 300)
const first = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)
const timeout = 120 * 60_000

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

test(`${files} dirty files from seed ${first} are read as the plain readers read them`, { timeout }, async () => {
  await soak(files, async () => {
    const database = memoryDatabase(Date.now)
    return {
      openStore: async () => openMemoryStore(database),
      rows: async (table) => database.rowsOf(table),
    }
  })
})

// Postgres takes less than the memory store: it has the last word on every text.
test(`${Math.ceil(files / 5)} dirty files from seed ${first} land in Postgres the same`, { timeout }, async () => {
  await using database = await testDatabase()
  const client = await database.connect()
  await client.query(`set timezone to 'UTC'`)
  await soak(Math.ceil(files / 5), async () => ({
    openStore: () => openPostgres({ url: database.url, waitMs: 10_000, onWait: () => {}, migrations: [] }),
    rows: async (table, columns) => {
      const texts = columns.map((name) => `"${name}"::text`)
      const { rows } = await client.query<Record<string, string | null>>(`select ${texts.join(', ')} from ${table}`)
      return rows
    },
  }))
})

async function soak(count: number, place: () => Promise<Place>): Promise<void> {
  let seen = 0
  for (let seed = first; seen < count; seed++) {
    seen += await checkDirtyFiles(bench, await place(), seed)
    if (process.env['MILLRACE_DIRTY_FILES'] !== undefined) process.stderr.write(`\r${seen} files, seed ${seed}  `)
  }
}

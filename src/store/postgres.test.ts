import { testDatabase } from '../../test/postgres.ts'
import { storeContract } from '../../test/store-contract.ts'
import { openPostgres } from './postgres.ts'

storeContract('Postgres', async () => {
  const database = await testDatabase()
  const open = () => openPostgres({ url: database.url, waitMs: 10_000, onWait: () => {}, migrations: [] })
  const store = await open()
  const client = await database.connect()
  return {
    store,
    async rowsOf(table) {
      const { rows } = await client.query<Record<string, unknown>>(`select * from ${table}`)
      return rows.map((row) =>
        Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value === null ? null : String(value)])),
      )
    },
    again: open,
    async expire(pipeline) {
      await client.query(
        `update millrace.leases set expires_at = clock_timestamp() - interval '1 second' where pipeline = $1`,
        [pipeline],
      )
    },
    async close() {
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
})

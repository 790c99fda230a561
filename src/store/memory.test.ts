import { storeContract } from '../../test/store-contract.ts'
import { memoryDatabase, openMemoryStore } from './memory.ts'

storeContract('memory', async () => {
  const database = memoryDatabase(Date.now)
  const store = openMemoryStore(database)
  return {
    store,
    rowsOf: async (table) => database.rowsOf(table),
    again: async () => openMemoryStore(database),
    expire: async (pipeline) => database.expire(pipeline),
    close: async () => await store[Symbol.asyncDispose](),
  }
})

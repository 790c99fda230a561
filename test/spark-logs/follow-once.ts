/**
 * Reads what is new of a folder of logs, in a process that may be killed: usage `follow-once.ts <database> <data> <logs>`.
 * Prints how much memory it took at most.
 */
import { loadConfig } from '../../src/config.ts'
import { runFollowers } from '../../src/engine/follow.ts'
import { createLog } from '../../src/log.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { system } from './world.ts'

const [database = '', data = '', logs = ''] = process.argv.slice(2)
const config = loadConfig(
  system.settings,
  { DATABASE_URL: database, MILLRACE_DATA: data, SPARK_EVENT_LOG_DIR: logs },
  data,
)
const folder = system.migrations ?? new URL('.', import.meta.url)
await using store = await openPostgres({
  url: database,
  waitMs: 0,
  onWait: () => {},
  migrations: [{ owner: system.name, folder }],
})
const { signal } = new AbortController()
await runFollowers({ system, config, store, log: createLog('error'), signal, bounded: {} })
console.log(process.resourceUsage().maxRSS * 1024)

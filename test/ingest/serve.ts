/**
 * A server that takes events, without a database: `serve.ts <data folder>`. Its first line on stdout is its port. It runs
 * until it is killed.
 */
import { openCache } from '../../src/cache/open.ts'
import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { newBoard } from '../../src/server/board.ts'
import { openServer } from '../../src/server/server.ts'
import { clicks } from './clicks.ts'

const [folder = ''] = process.argv.slice(2)
const config = loadConfig({}, { INGEST_DISK_RESERVE: '0', ...process.env, MILLRACE_DATA: folder }, folder)
const log = createLog('error')
const desk = {
  board: newBoard([clicks], config, new Date()),
  config,
  log,
  cache: openCache(config, log),
  signal: new AbortController().signal,
}
const server = await openServer({ host: '127.0.0.1', port: 0, desk, notReady: async () => undefined })
process.stdout.write(`${server.port}\n`)

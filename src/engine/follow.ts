/** The followers of a system: each in turns of its own, with a DuckDB of its own, until it is told to stop. */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.ts'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Store } from '../store/store.ts'
import type { Follower, FollowerTools, System, WriteTransaction } from '../system.ts'
import { Duck, followerFolder, spoolFolder } from './duckdb.ts'

const backOff = { firstMs: 1000, mostMs: 30_000 }

export interface Following {
  system: System
  config: Config
  store: Store
  log: Log
  signal: AbortSignal
  /** They do what there is to do now, and no more; what fails is thrown. */
  bounded?: object | undefined
}

export async function runFollowers(following: Following): Promise<void> {
  const { system } = following
  await Promise.all((system.followers ?? []).map((follower) => run(following, follower)))
}

async function run(following: Following, follower: Follower): Promise<void> {
  const { system, config, store, log, signal, bounded } = following
  const place = `${system.name}-${follower.name}`
  const folder = followerFolder(config, system.name, follower.name)
  const own = `${place}-${process.pid}-${randomBytes(4).toString('hex')}`
  const scratch = join(spoolFolder(config.dataDirectory), own)
  await mkdir(folder, { recursive: true })
  await using duck = await Duck.open({
    folders: [folder, scratch],
    temporary: join(config.dataDirectory, 'duckdb', String(process.pid), own),
    memoryLimitMb: Math.max(config.memoryLimitMb, follower.memoryMb),
    threads: 2,
  })
  using session = await duck.connect()
  const tools: FollowerTools = {
    settings: config.settings,
    folder,
    scratch,
    duck: { run: (statement) => session.run(statement), rows: (select) => session.rows(select) },
    write: (work) => writable(store).write(system.name, work),
    now: Date.now,
    warn: (message, fields) => log.warn(message, { pipeline: system.name, follower: follower.name, ...fields }),
    signal,
  }
  let tries = 0
  try {
    while (!signal.aborted) {
      try {
        const worked = await follower.round(tools)
        tries = 0
        if (worked) continue
        if (bounded !== undefined) return
        await sleep(follower.everyMs(config.settings), undefined, { signal }).catch(() => {})
      } catch (error) {
        if (signal.aborted) return
        if (bounded !== undefined) throw error
        const nextInMs = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(tries++, 10))
        tools.warn('a follower failed, and tries again', { why: messageOf(error), tries, next_in_ms: nextInMs })
        await sleep(nextInMs, undefined, { signal }).catch(() => {})
      }
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function writable(store: Store): { write: FollowerWrite } {
  if ('write' in store && typeof store.write === 'function') {
    // as: only a store in Postgres has it
    return store as unknown as { write: FollowerWrite }
  }
  throw new MillraceError('NOT_SUPPORTED', { message: 'followers write to Postgres, and this store is another one' })
}

type FollowerWrite = <T>(system: string, work: (transaction: WriteTransaction) => Promise<T>) => Promise<T>

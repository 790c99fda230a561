/** telemetra beside a server that is open, on local topics of three partitions; it runs only when it is told to. */
import { join } from 'node:path'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { runSystem } from '../src/engine/system-run.ts'
import { createLog } from '../src/log.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import type { Served } from './served.ts'

export const chatTopic = 'telemetra.events.chat'

export interface TelemetraWork {
  served: Served
  /** Messages of one stream, a second apart, into one partition of the chat. */
  chat(partition: number, fromMs: number, count: number, message?: string): Promise<void>
  /** A bounded run over what is there. */
  run(options?: { final: boolean }): Promise<void>
  sql(statement: string): Promise<Record<string, unknown>[]>
}

export async function openTelemetraWork(served: Served): Promise<TelemetraWork> {
  const { board, config } = served
  const { store, duck } = board
  if (store === undefined || duck === undefined) throw new Error('the server has no store yet')
  const client = await served.connect()
  const keys = await keysOfPartitions(join(config.dataDirectory, 'topics'))
  const topics = openLocalTopics(join(config.dataDirectory, 'topics'), { partitions: keys.length })
  return {
    served,
    async chat(partition, fromMs, count, message = 'hello') {
      await using writer = await topics.openWriter(chatTopic)
      await writer.append(
        Array.from({ length: count }, (_, second) => {
          const timestamp = new Date(fromMs + second * 1000).toISOString()
          const value = { stream_id: `s${partition}`, user_id: `u${second}`, message, timestamp }
          return { key: Buffer.from(keys[partition] ?? ''), value: Buffer.from(JSON.stringify(value)) }
        }),
      )
    },
    async run({ final } = { final: false }) {
      await runSystem({
        system: telemetra,
        config,
        store,
        duck,
        log: createLog('error', { write: () => {} }),
        signal: new AbortController().signal,
        bounded: { inputs: undefined, again: false, final },
      })
    },
    sql: async (statement) => (await client.query(statement)).rows,
  }
}

/** For each of three partitions a key whose records go there. */
async function keysOfPartitions(folder: string): Promise<string[]> {
  const keys: string[] = []
  await using writer = await openLocalTopics(folder, { partitions: 3 }).openWriter('a-try')
  for (let n = 0; keys.filter((key) => key !== undefined).length < 3; n++) {
    const [where] = await writer.append([{ key: Buffer.from(`k${n}`), value: null }])
    if (where !== undefined) keys[where.partition] ??= `k${n}`
  }
  return keys
}

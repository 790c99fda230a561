/** A real Redis for one test: started, stopped and killed as the test says, and gone with it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@redis/client'
import { eventually } from './crash/process.ts'
import { freePort } from './free-port.ts'

/** Why there can be no Redis here, or false. */
export const noRedis: string | false =
  spawnSync('redis-server', ['--version']).status === 0 ? false : 'redis-server is not installed: .ci/setup brings it'

export interface TestRedis extends AsyncDisposable {
  url: string
  /** A client of the test's own. */
  client: ReturnType<typeof clientOf>
  start(): Promise<void>
  kill(): Promise<void>
  /** It holds its connections, and says nothing. */
  freeze(): void
  thaw(): void
}

export async function startRedis(): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-redis-'))
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}/0`
  const client = clientOf(url)
  let child: ChildProcess | undefined
  const redis: TestRedis = {
    url,
    client,
    async start() {
      // what it holds is gone with it
      const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder]
      child = spawn('redis-server', args, { stdio: 'ignore' })
      if (!client.isOpen) await client.connect()
      await eventually(async () => client.isReady && (await client.ping()) === 'PONG', { what: () => 'Redis answers' })
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      client.destroy()
      await redis.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await redis.start()
  return redis
}

function clientOf(url: string) {
  const client = createClient({ url })
  // it is killed on purpose
  client.on('error', () => {})
  return client
}

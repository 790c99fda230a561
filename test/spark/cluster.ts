/**
 * A standalone cluster of Spark on this machine: a master, a worker with two executors of one core each, and a Connect
 * server that has its work done by them. All of it is the test's own, on loopback and free ports, and ends with it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, lastWishes } from '../crash/process.ts'
import { freePort } from '../free-port.ts'
import { noSpark, sparkEnvironment, sparkProgram, TestSpark } from './server.ts'

/** Why there can be no cluster here, or false. */
export const noCluster: string | false =
  noSpark ||
  (process.env['MILLRACE_TEST_SPARK_REMOTE'] === undefined
    ? false
    : 'MILLRACE_TEST_SPARK_REMOTE names a server, and this is about a cluster of its own')

const executors = 2
const shortLived = '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'
/** How long a program of Spark may take to start on a busy machine. */
const withinMs = 120_000

export class TestCluster implements AsyncDisposable {
  readonly remote: string
  /** Of the worker, whose children are the executors, and of the Connect server. */
  readonly pids: readonly number[]
  readonly #worker: ChildProcess
  readonly #all: AsyncDisposableStack

  private constructor(server: TestSpark, worker: ChildProcess, all: AsyncDisposableStack) {
    this.remote = server.remote
    this.pids = [worker.pid, server.pid].filter((pid) => pid !== undefined)
    this.#worker = worker
    this.#all = all
  }

  /** `more` are settings of the Connect server; each executor may have so much memory. */
  static async start(more: Record<string, string> = {}, executorMemoryMb = 640): Promise<TestCluster> {
    await using stack = new AsyncDisposableStack()
    const folder = await mkdtemp(join(tmpdir(), 'millrace-cluster-'))
    stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
    const port = await freePort()
    const master = `spark://127.0.0.1:${port}`
    const masterProcess = startDaemon(stack, folder, 'master.Master', ['--port', String(port)])
    const listens = async (): Promise<boolean> => {
      if (masterProcess.exitCode !== null) throw new Error(`the master of the cluster ended: ${masterProcess.exitCode}`)
      return await answers(port)
    }
    await eventually(listens, { what: () => 'the master of the cluster listens', withinMs })
    const worker = startDaemon(stack, folder, 'worker.Worker', [
      ...['--cores', String(executors), '--memory', `${executors * executorMemoryMb}m`],
      ...['--work-dir', join(folder, 'work'), master],
    ])
    stack.defer(() => {
      for (const pid of childrenOf(worker.pid)) endNow(pid)
    })
    const server = stack.use(
      await TestSpark.start({
        'spark.master': master,
        'spark.executor.cores': '1',
        'spark.executor.memory': `${executorMemoryMb}m`,
        'spark.cores.max': String(executors),
        // most of what they run they run a few times
        'spark.driver.extraJavaOptions': shortLived,
        'spark.executor.extraJavaOptions': shortLived,
        // nothing is begun before both are there
        'spark.scheduler.minRegisteredResourcesRatio': '1',
        'spark.scheduler.maxRegisteredResourcesWaitingTime': `${withinMs}ms`,
        ...more,
      }),
    )
    const cluster = new TestCluster(server, worker, stack.move())
    await cluster.whole()
    return cluster
  }

  /** The processes of its executors. */
  executors(): number[] {
    return childrenOf(this.#worker.pid).filter((pid) => of(pid, 'cmdline').includes('CoarseGrainedExecutorBackend'))
  }

  /** Answers when all executors are there. */
  async whole(): Promise<number[]> {
    const seen = async (): Promise<number[] | false> => {
      const found = this.executors()
      return found.length === executors && found
    }
    return await eventually(seen, {
      what: () => `${executors} executors run, and not ${this.executors().length}`,
      withinMs,
    })
  }

  /** As a machine that is gone: without a word. */
  killExecutor(): number {
    const [pid] = this.executors()
    if (pid === undefined) throw new Error('no executor runs')
    endNow(pid)
    return pid
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#all.disposeAsync()
  }
}

function startDaemon(stack: AsyncDisposableStack, folder: string, name: string, args: string[]): ChildProcess {
  const child = spawn(
    sparkProgram('spark-class'),
    [`org.apache.spark.deploy.${name}`, '--host', '127.0.0.1', '--webui-port', '0', ...args],
    {
      cwd: folder,
      env: { ...sparkEnvironment(), SPARK_DAEMON_MEMORY: '256m', SPARK_LOCAL_DIRS: join(folder, 'local') },
      stdio: 'ignore',
    },
  )
  const end = (): void => void child.kill('SIGKILL')
  lastWishes.add(end)
  stack.defer(async () => {
    lastWishes.delete(end)
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    end()
    await ended
  })
  return child
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

function childrenOf(parent: number | undefined): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && Number(/\) \S (\d+)/.exec(of(pid, 'stat'))?.[1]) === parent)
}

// Nothing of a process that has just ended.
function of(pid: number, file: 'stat' | 'cmdline'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}

function endNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has just ended
  }
}

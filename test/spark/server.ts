/** A Spark Connect server of a test's own, on a port of its own, which ends with the test. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SparkSession } from '../../src/spark/connect.ts'
import { freePort } from '../free-port.ts'

const python = process.env['MILLRACE_SPARK_PYTHON']
const jdbcJar = process.env['MILLRACE_JDBC_JAR']

/** Why there can be no Spark here, or false. */
export const noSpark: string | false =
  python === undefined || jdbcJar === undefined
    ? 'Spark is absent: .ci/setup brings it, and names it in MILLRACE_SPARK_PYTHON and MILLRACE_JDBC_JAR'
    : false

/** How long a server may take to start on a busy machine. */
const patienceMs = 180_000

/** A program of the Spark that is installed. */
export function sparkProgram(name: string): string {
  if (python === undefined) throw new Error(String(noSpark))
  const ask = 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("pyspark").origin))'
  return join(execFileSync(python, ['-c', ask]).toString().trim(), 'bin', name)
}

/** What its programs are told; all of them listen on loopback alone. */
export function sparkEnvironment(): Record<string, string | undefined> {
  return {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    JAVA_HOME: process.env['JAVA_HOME'],
    SPARK_LOCAL_IP: '127.0.0.1',
    LC_ALL: 'C.UTF-8',
  }
}

export class TestSpark implements AsyncDisposable {
  readonly remote: string
  readonly #folder: string
  readonly #port: number
  readonly #more: Record<string, string>
  #process: ChildProcess | undefined

  private constructor(folder: string, port: number, more: Record<string, string>) {
    this.#folder = folder
    this.#port = port
    this.#more = more
    this.remote = process.env['MILLRACE_TEST_SPARK_REMOTE'] ?? `sc://127.0.0.1:${port}`
  }

  /** `more` are settings of Spark; without a `spark.master` among them it works in itself, on two cores. */
  static async start(more: Record<string, string> = {}): Promise<TestSpark> {
    const server = new TestSpark(await mkdtemp(join(tmpdir(), 'millrace-connect-')), await freePort(), more)
    try {
      await server.start()
      return server
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
  }

  async start(): Promise<void> {
    // a server that is there already, for those who run one test again and again
    if (process.env['MILLRACE_TEST_SPARK_REMOTE'] !== undefined) return
    if (jdbcJar === undefined) throw new Error(String(noSpark))
    const settings = {
      'spark.master': 'local[2]',
      'spark.connect.grpc.binding.address': '127.0.0.1',
      'spark.connect.grpc.binding.port': String(this.#port),
      'spark.driver.host': '127.0.0.1',
      'spark.driver.bindAddress': '127.0.0.1',
      'spark.local.dir': join(this.#folder, 'local'),
      'spark.sql.warehouse.dir': join(this.#folder, 'warehouse'),
      'spark.ui.enabled': 'false',
      // one for each core: the default of 200 is for clusters
      'spark.sql.shuffle.partitions': '2',
      ...this.#more,
    }
    const child = spawn(
      sparkProgram('spark-submit'),
      [
        '--class',
        'org.apache.spark.sql.connect.service.SparkConnectServer',
        '--driver-memory',
        '1g',
        '--jars',
        jdbcJar,
        ...Object.entries(settings).flatMap(([name, value]) => ['--conf', `${name}=${value}`]),
        'spark-internal',
      ],
      {
        env: sparkEnvironment(),
        // it makes a folder of artifacts where it is started
        cwd: this.#folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    this.#process = child
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      said = `${said}${chunk}`.slice(-4000)
    })
    const ended = once(child, 'exit').then(() => {
      throw new Error(`Spark has ended: ${said}`)
    })
    ended.catch(() => {})
    const opened = SparkSession.open({ remote: this.remote, waitMs: patienceMs })
    await using _ = await Promise.race([opened, ended])
  }

  /** Of its process, where it is the test's own. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** As a machine that is gone: without a word. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/**
 * A session with a Spark Connect server. What is asked of it survives a connection that breaks: every request has an
 * identity of its own, and is attached to again where its answers stopped. A server that has forgotten the session is
 * told apart (SPARK_SESSION_LOST): whoever holds it begins anew.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { tableFromIPC } from '@uwdata/flechette'
import { MillraceError } from '../errors.ts'
import { type SparkAddress, sparkAddress } from './address.ts'
import {
  type ExecutePlanResponse,
  InterruptRequest_InterruptType,
  type PlanSchema,
  SparkConnectService,
} from './generated/base_pb.js'
import { type CommandSchema, WriteOperation_SaveMode } from './generated/commands_pb.js'
import type { RelationSchema } from './generated/relations_pb.js'
import type { SparkProgress } from './progress.ts'
import { keepSql, letGoSql } from './settings.ts'

type Relation = MessageInitShape<typeof RelationSchema>
export type Command = MessageInitShape<typeof CommandSchema>
type Plan = MessageInitShape<typeof PlanSchema>

export interface SessionOptions {
  remote: string
  /** Ends what is under way, on the server too. */
  signal?: AbortSignal
  /** How long a server that does not answer is waited for, at the beginning and in between. */
  waitMs?: number
  /** A connection on which nothing came for so long is asked whether it is there; one that does not say so in time is cut. */
  silence?: { afterMs: number; waitMs: number }
  onProgress?: (progress: SparkProgress) => void
}

export interface ReadFiles {
  format: 'text' | 'parquet' | 'binaryFile' | 'kafka'
  /** Of Kafka there are none. */
  paths: string[]
  /** What the view has of them: expressions with their names. */
  columns: string[]
  options?: Record<string, string>
  /** What comes later, too; of Parquet with its columns, as the DDL of a table has them. */
  isStreaming?: boolean
  schema?: string
}

export interface WriteRows {
  sql: string
  format: 'jdbc' | 'parquet'
  options: Record<string, string>
  path?: string
}

// Servers of gRPC take it ill when they are asked more often than every five minutes.
const usualSilence = { afterMs: 310_000, waitMs: 20_000 }
const firstPauseMs = 50
const longestPauseMs = 2000

export class SparkSession implements AsyncDisposable {
  readonly #rpc: Client<typeof SparkConnectService>
  readonly #address: SparkAddress
  readonly #options: SessionOptions
  readonly #sessionId = randomUUID()
  /** The server's own name for the session, by which a server that was started anew is known. */
  #serverSession: string | undefined
  readonly #kept: string[] = []

  private constructor(options: SessionOptions) {
    this.#options = options
    this.#address = sparkAddress(options.remote)
    const { baseUrl, token, headers } = this.#address
    const { afterMs, waitMs } = options.silence ?? usualSilence
    const sent = { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }
    const transport = createGrpcTransport({
      baseUrl,
      readMaxBytes: 128 * 1024 * 1024,
      pingIntervalMs: afterMs,
      pingTimeoutMs: waitMs,
      interceptors: [
        (next) => (request) => {
          for (const [name, value] of Object.entries(sent)) request.header.set(name, value)
          return next(request)
        },
      ],
    })
    this.#rpc = createClient(SparkConnectService, transport)
  }

  /** Errors: INVALID_SETTING, SPARK_UNREACHABLE, SPARK_FAILED. */
  static async open(options: SessionOptions): Promise<SparkSession> {
    const session = new SparkSession(options)
    await session.version()
    return session
  }

  async version(): Promise<string> {
    const answer = await this.#call(() =>
      this.#rpc.analyzePlan({ ...this.#who(), analyze: { case: 'sparkVersion', value: {} } }),
    )
    this.#serverSession = answer.serverSideSessionId
    return answer.result.case === 'sparkVersion' ? answer.result.value.version : ''
  }

  /** Settings of this session alone. */
  async configure(settings: Record<string, string>): Promise<void> {
    const pairs = Object.entries(settings).map(([key, value]) => ({ key, value }))
    await this.#call(() =>
      this.#rpc.config({ ...this.#who(), operation: { opType: { case: 'set', value: { pairs } } } }),
    )
  }

  /** The rows of a select: integers of 64 bits as bigints, decimals and timestamps only as texts: cast them in the select. */
  async rows<Row>(sql: string): Promise<Row[]> {
    const rows: Row[] = []
    for await (const answer of this.#execute({ opType: { case: 'root', value: sqlRelation(sql) } })) {
      if (answer.responseType.case !== 'arrowBatch') continue
      const bytes = answer.responseType.value.data.slice()
      // as: the caller says what its select makes
      rows.push(...(tableFromIPC(bytes, { useBigInt: true }).toArray() as Row[]))
    }
    return rows
  }

  /** A statement with an effect, such as a cache or a configuration. */
  async run(sql: string): Promise<void> {
    await this.#command({ commandType: { case: 'sqlCommand', value: { input: sqlRelation(sql) } } })
  }

  /** Gives a select a name, for this session alone. */
  async view(name: string, sql: string): Promise<void> {
    await this.#view(name, sqlRelation(sql))
  }

  /** Has executors keep the rows of a view on their disks, once they were asked for, as long as the session lasts. */
  async keep(view: string): Promise<void> {
    this.#kept.push(view)
    await this.run(keepSql(view))
  }

  async viewOfFiles(
    name: string,
    { format, paths, columns, options = {}, isStreaming = false, schema }: ReadFiles,
  ): Promise<void> {
    const files = { format, paths, options, ...(schema === undefined ? {} : { schema }) }
    const value = { isStreaming, readType: { case: 'dataSource', value: files } } as const
    const expressions = columns.map((expression) => ({
      exprType: { case: 'expressionString', value: { expression } } as const,
    }))
    // a view hides what Spark knows of the files behind it, so it is asked for below
    const input = { relType: { case: 'read', value } } as const
    await this.#view(name, { relType: { case: 'project', value: { input, expressions } } })
  }

  /** The columns of files, as the DDL of a table would have them. */
  async columnsOf(sql: string): Promise<{ name: string; type: string }[]> {
    const rows = await this.rows<{ col_name: string; data_type: string }>(`describe query ${sql}`)
    return rows.map(({ col_name, data_type }) => ({ name: col_name, type: data_type }))
  }

  async write({ sql, format, options, path }: WriteRows): Promise<void> {
    const value = {
      input: sqlRelation(sql),
      source: format,
      options,
      mode: format === 'jdbc' ? WriteOperation_SaveMode.APPEND : WriteOperation_SaveMode.OVERWRITE,
      ...(path === undefined ? {} : { saveType: { case: 'path' as const, value: path } }),
    }
    await this.#command({ commandType: { case: 'writeOperation', value } })
  }

  /** Anything else; answers what the server says of it. */
  async command(command: Command): Promise<ExecutePlanResponse['responseType'][]> {
    const answers: ExecutePlanResponse['responseType'][] = []
    for await (const { responseType } of this.#execute({ opType: { case: 'command', value: command } }))
      answers.push(responseType)
    return answers
  }

  /** Reads a table of another database, to see whether it can be reached. */
  async readJdbc(options: Record<string, string>): Promise<void> {
    const value = { isStreaming: false, readType: { case: 'dataSource', value: { format: 'jdbc', options } } } as const
    const read: Relation = { relType: { case: 'read', value } }
    await toEnd(this.#execute({ opType: { case: 'root', value: read } }))
  }

  /** Whether the server has a source of this name. */
  async knowsFormat(format: string): Promise<boolean> {
    const value = { isStreaming: false, readType: { case: 'dataSource', value: { format } } } as const
    try {
      const plan: Plan = { opType: { case: 'root', value: { relType: { case: 'read', value } } } }
      await this.#call(() => this.#rpc.analyzePlan({ ...this.#who(), analyze: { case: 'schema', value: { plan } } }))
      return true
    } catch (error) {
      // what is missing then are its options
      return !/DATA_SOURCE_NOT_FOUND|Failed to find|Failed to find data source/i.test(String(error))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // what is kept outlives its session, until the server ends; whatever has stopped the work does not stop this
    for (const view of this.#kept) {
      const value = { commandType: { case: 'sqlCommand', value: { input: sqlRelation(letGoSql(view)) } } } as const
      const request = {
        ...this.#who(),
        operationId: randomUUID(),
        plan: { opType: { case: 'command', value } } as const,
      }
      await toEnd(this.#rpc.executePlan(request, { timeoutMs: 5000 })).catch(() => {})
    }
    // a server that is gone has no session either
    await this.#rpc.releaseSession(this.#who(), { timeoutMs: 5000 }).catch(() => {})
  }

  async #view(name: string, input: Relation): Promise<void> {
    await this.#command({
      commandType: { case: 'createDataframeView', value: { input, name, isGlobal: false, replace: true } },
    })
  }

  async #command(command: Command): Promise<void> {
    // what it answers with is only that it is done
    await this.command(command)
  }

  // ---- requests ----------------------------------------------------------------------------------------------------

  #who() {
    return {
      sessionId: this.#sessionId,
      userContext: { userId: this.#address.userId, userName: this.#address.userId },
      clientType: 'millrace',
      ...(this.#serverSession === undefined ? {} : { clientObservedServerSideSessionId: this.#serverSession }),
    }
  }

  async *#execute(plan: Plan): AsyncGenerator<ExecutePlanResponse> {
    const { signal, onProgress } = this.#options
    signal?.throwIfAborted()
    const operationId = randomUUID()
    const interrupt = (): void => {
      const type = InterruptRequest_InterruptType.OPERATION_ID
      const interrupted = { case: 'operationId', value: operationId } as const
      // it fails when the request is done by now, which is as good
      this.#rpc.interrupt({ ...this.#who(), interruptType: type, interrupt: interrupted }).catch(() => {})
    }
    signal?.addEventListener('abort', interrupt)
    try {
      for await (const answer of this.#answers(plan, operationId)) {
        if (answer.responseType.case === 'executionProgress') onProgress?.(progressOf(answer.responseType.value))
        else yield answer
      }
    } catch (error) {
      // what was interrupted says so in many ways
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', interrupt)
      // the server keeps answers until it is told that they have come; it lets go of them after a while anyway
      this.#rpc
        .releaseExecute({ ...this.#who(), operationId, release: { case: 'releaseAll', value: {} } })
        .catch(() => {})
    }
  }

  // Until the server says that the answer is whole: a stream that ends before, or breaks, is attached to again.
  async *#answers(plan: Plan, operationId: string): AsyncGenerator<ExecutePlanResponse> {
    const start = () => {
      const reattachable = { case: 'reattachOptions', value: { reattachable: true } } as const
      return this.#rpc.executePlan({
        ...this.#who(),
        operationId,
        plan,
        requestOptions: [{ requestOption: reattachable }],
      })
    }
    const patience = new Patience(this.#options)
    let last: string | undefined
    let stream = start()
    for (;;) {
      try {
        for await (const answer of stream) {
          patience.restart()
          last = answer.responseId
          this.#serverSession = answer.serverSideSessionId
          if (answer.responseType.case === 'resultComplete') return
          yield answer
        }
      } catch (thrown) {
        const problem = await this.#problemOf(thrown)
        if (problem.isUnknownOperation && last === undefined) {
          // it has never come there: it is asked again, under the same name
          await patience.pause(problem.error)
          stream = start()
          continue
        }
        if (problem.isUnknownOperation) throw sessionLost(problem.error)
        if (!problem.isConnection) throw problem.error
        await patience.pause(problem.error)
      }
      stream = this.#rpc.reattachExecute({
        ...this.#who(),
        operationId,
        ...(last === undefined ? {} : { lastResponseId: last }),
      })
    }
  }

  // A request that changes nothing, or nothing more the second time.
  async #call<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    const patience = new Patience(this.#options)
    for (;;) {
      try {
        return await ask()
      } catch (thrown) {
        const problem = await this.#problemOf(thrown)
        if (!problem.isConnection) throw problem.error
        await patience.pause(problem.error)
      }
    }
  }

  // ---- errors ------------------------------------------------------------------------------------------------------

  async #problemOf(thrown: unknown): Promise<Problem> {
    const error = ConnectError.from(thrown)
    const info = errorInfoOf(error)
    // A cut connection comes as Canceled too; what the server says has its own information with it.
    if (info === undefined) {
      const isConnection = [Code.Unavailable, Code.Aborted, Code.Canceled, Code.Internal].includes(error.code)
      return { isConnection, isUnknownOperation: false, error: this.#withoutInfo(error) }
    }
    const errorClass = info.metadata['errorClass'] ?? ''
    if (/^INVALID_HANDLE\.SESSION_/.test(errorClass))
      return { isConnection: false, isUnknownOperation: false, error: sessionLost(error) }
    const isUnknownOperation = errorClass === 'INVALID_HANDLE.OPERATION_NOT_FOUND'
    const sqlState = info.metadata['sqlState']
    const whole = info.metadata['errorId'] === undefined ? undefined : await this.#wholeError(info.metadata['errorId'])
    const said = withoutStack(whole?.message ?? error.rawMessage)
    const failed = new MillraceError('SPARK_FAILED', {
      message: said.startsWith('[') || errorClass === '' ? said : `[${errorClass}] ${said}`,
      at: `Spark${sqlState === undefined ? '' : `, SQLSTATE ${sqlState}`}`,
      ...(whole?.fragment === undefined ? {} : { hint: `in: ${whole.fragment}` }),
      cause: thrown,
    })
    return { isConnection: false, isUnknownOperation, error: failed }
  }

  #withoutInfo(error: ConnectError): MillraceError {
    const at = this.#address.baseUrl
    if (error.code === Code.Unauthenticated || error.code === Code.PermissionDenied) {
      return new MillraceError('SPARK_REFUSED', {
        message: `the server does not let us in: ${error.rawMessage}`,
        at,
        hint: 'does SPARK_REMOTE have the right token?',
        cause: error,
      })
    }
    return new MillraceError('SPARK_UNREACHABLE', {
      message: `no Spark Connect server answers: ${error.rawMessage || Code[error.code]}`,
      at,
      hint: 'is one running there, and does SPARK_REMOTE name its host and port? `millrace doctor` looks closer',
      retry: true,
      cause: error,
    })
  }

  // The message is cut short where it travels with the failure; the server has the whole of it for a while.
  async #wholeError(errorId: string): Promise<{ message: string; fragment: string | undefined } | undefined> {
    const details = await this.#rpc.fetchErrorDetails({ ...this.#who(), errorId }).catch(() => undefined)
    const root = details?.errors[details.rootErrorIdx ?? 0]
    if (root === undefined) return undefined
    const fragment = root.sparkThrowable?.queryContexts.map((context) => context.fragment).find((text) => text !== '')
    return { message: root.message, fragment }
  }
}

interface Problem {
  isConnection: boolean
  isUnknownOperation: boolean
  error: MillraceError
}

function sessionLost(cause: unknown): MillraceError {
  return new MillraceError('SPARK_SESSION_LOST', {
    message: 'the Spark server has been started anew, or has forgotten the session',
    hint: 'nothing of the run is in the tables: start it again',
    retry: true,
    cause,
  })
}

/** Waits longer each time, and gives up when a server has not answered for too long. */
class Patience {
  readonly #waitMs: number
  readonly #signal: AbortSignal | undefined
  #since: number | undefined
  #pauseMs = firstPauseMs

  constructor({ waitMs = 120_000, signal }: SessionOptions) {
    this.#waitMs = waitMs
    this.#signal = signal
  }

  restart(): void {
    this.#since = undefined
    this.#pauseMs = firstPauseMs
  }

  async pause(error: MillraceError): Promise<void> {
    this.#signal?.throwIfAborted()
    this.#since ??= performance.now()
    if (performance.now() - this.#since + this.#pauseMs > this.#waitMs) throw error
    await sleep(this.#pauseMs, undefined, this.#signal === undefined ? {} : { signal: this.#signal })
    this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2)
  }
}

// Where in Spark it happened helps nobody who has no Spark to mend.
function withoutStack(message: string): string {
  const lines = message.split('\n').filter((line) => !/^\s+(at |\.\.\. \d)|^Driver stacktrace/.test(line))
  return lines.slice(0, 12).join('\n').trim()
}

async function toEnd(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers) {
    // only that it is done is asked
  }
}

function sqlRelation(query: string): Relation {
  return { relType: { case: 'sql', value: { query } } }
}

type Stages = Extract<ExecutePlanResponse['responseType'], { case: 'executionProgress' }>['value']

function progressOf({ stages }: Stages): SparkProgress {
  const sum = (of: (stage: Stages['stages'][number]) => bigint): number =>
    stages.reduce((total, stage) => total + Number(of(stage)), 0)
  return {
    stages: stages.length,
    stagesDone: stages.filter(({ done }) => done).length,
    tasks: sum(({ numTasks }) => numTasks),
    tasksDone: sum(({ numCompletedTasks }) => numCompletedTasks),
    bytesRead: sum(({ inputBytesRead }) => inputBytesRead),
  }
}

// google.rpc.ErrorInfo: 1 is the reason, 3 a map of texts. It is in no descriptor of Spark's.
function errorInfoOf(error: ConnectError): { reason: string; metadata: Record<string, string> } | undefined {
  for (const detail of error.details) {
    if (!('type' in detail) || detail.type !== 'google.rpc.ErrorInfo' || !(detail.value instanceof Uint8Array)) continue
    let reason = ''
    const metadata: Record<string, string> = {}
    for (const { field, bytes } of fieldsOf(detail.value)) {
      if (field === 1) reason = textOf(bytes)
      if (field !== 3) continue
      const [key, value] = [1, 2].map((at) => fieldsOf(bytes).find((each) => each.field === at)?.bytes)
      metadata[textOf(key)] = textOf(value)
    }
    return { reason, metadata }
  }
  return undefined
}

function fieldsOf(bytes: Uint8Array): { field: number; bytes: Uint8Array }[] {
  const reader = new BinaryReader(bytes)
  const fields: { field: number; bytes: Uint8Array }[] = []
  while (reader.pos < reader.len) {
    const [field] = reader.tag()
    fields.push({ field, bytes: reader.bytes() })
  }
  return fields
}

function textOf(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('utf8')
}

/** A streaming query on Spark: started from its checkpoint, asked how it stands, stopped. */
import { MillraceError } from '../errors.ts'
import type { Command, SparkSession } from './connect.ts'

export interface QuerySpec {
  /** In Spark's own pages. */
  name: string
  select: string
  /** Where its Parquet goes, and where it keeps how far it is: URIs. */
  rows: string
  checkpoint: string
  everyMs: number
  /** In a file at most. */
  rowsInFile: number
}

export interface RunningQuery {
  id: string
  runId: string
}

export type QueryStanding =
  /** `hasMore`: it works on something, or has not looked yet whether there is something. */
  { is: 'running'; hasMore: boolean } | { is: 'ended'; why: string | undefined }

/** From where its checkpoint says. Another run of it on the same server is ended by this one. */
export async function startQuery(session: SparkSession, spec: QuerySpec): Promise<RunningQuery> {
  const answers = await session.command({
    commandType: {
      case: 'writeStreamOperationStart',
      value: {
        input: { relType: { case: 'sql', value: { query: spec.select } } },
        format: 'parquet',
        options: { checkpointLocation: spec.checkpoint, maxRecordsPerFile: String(spec.rowsInFile) },
        outputMode: 'append',
        queryName: spec.name,
        trigger: { case: 'processingTimeInterval', value: `${spec.everyMs} milliseconds` },
        sinkDestination: { case: 'path', value: spec.rows },
      },
    },
  })
  for (const answer of answers) {
    if (answer.case !== 'writeStreamOperationStartResult' || answer.value.queryId === undefined) continue
    const { id, runId } = answer.value.queryId
    return { id, runId }
  }
  throw new MillraceError('SPARK_FAILED', {
    at: spec.name,
    message: 'the server does not say that the query has begun',
  })
}

export async function standingOf(session: SparkSession, query: RunningQuery): Promise<QueryStanding> {
  const status = await ask(session, query, { case: 'status', value: true })
  if (status?.case !== 'status') return { is: 'ended', why: undefined }
  const { isActive, isDataAvailable, isTriggerActive, statusMessage } = status.value
  if (isActive) {
    // a trigger that found nothing is over, and none has begun since
    const isWaiting = /^Waiting for (data to arrive|next trigger)/.test(statusMessage)
    return { is: 'running', hasMore: isDataAvailable || isTriggerActive || !isWaiting }
  }
  const exception = await ask(session, query, { case: 'exception', value: true })
  const why = exception?.case === 'exception' ? exception.value.exceptionMessage : undefined
  return { is: 'ended', why: why === '' ? undefined : why }
}

/** What it was working on it begins again when it is started again. */
export async function stopQuery(session: SparkSession, query: RunningQuery): Promise<void> {
  await ask(session, query, { case: 'stop', value: true })
}

type StreamingCommand = Extract<Command['commandType'], { case: 'streamingQueryCommand' }>['value']

async function ask(
  session: SparkSession,
  { id, runId }: RunningQuery,
  command: NonNullable<StreamingCommand['command']>,
) {
  const value = { queryId: { id, runId }, command }
  const answers = await session.command({ commandType: { case: 'streamingQueryCommand', value } })
  for (const answer of answers) if (answer.case === 'streamingQueryCommandResult') return answer.value.resultType
  return undefined
}

/** What a Spark did, by its own event log: bytes and rows that each stage read, shuffled and wrote. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Settings of a server whose log lies in a folder, as one file of plain lines. */
export function eventLogIn(folder: string): Record<string, string> {
  return {
    'spark.eventLog.enabled': 'true',
    'spark.eventLog.dir': `file://${folder}`,
    'spark.eventLog.rolling.enabled': 'false',
    'spark.eventLog.compress': 'false',
  }
}

export interface StageWork {
  stage: number
  tasks: number
  runMs: number
  cpuMs: number
  bytesRead: number
  rowsRead: number
  shuffleBytes: number
  shuffleRows: number
  bytesWritten: number
  rowsWritten: number
  spilledBytes: number
}

/** Of every stage, once all jobs have ended. */
export async function stagesIn(folder: string, waitMs = 20_000): Promise<StageWork[]> {
  for (const until = performance.now() + waitMs; ; await sleep(100)) {
    const events = await eventsIn(folder)
    const ended = (name: string): number => events.filter(({ Event }) => Event === name).length
    const jobs = ended('SparkListenerJobStart')
    if (jobs > 0 && jobs === ended('SparkListenerJobEnd')) return sums(events)
    if (performance.now() > until) throw new Error(`of ${jobs} jobs not all have ended in the log in ${folder}`)
  }
}

/** How many tasks had to be done again, or what they had done, because their executor was gone. */
export async function lostTasksIn(folder: string): Promise<number> {
  const lost = ['ExecutorLostFailure', 'FetchFailed', 'Resubmitted']
  return (await eventsIn(folder)).filter((event) => lost.includes(event['Task End Reason']?.Reason)).length
}

/** How many relations that executors had kept were let go of. */
export async function letGoIn(folder: string): Promise<number> {
  return (await eventsIn(folder)).filter(({ Event }) => Event === 'SparkListenerUnpersistRDD').length
}

// biome-ignore lint/suspicious/noExplicitAny: Spark's events have as many shapes as there are kinds
type SparkEvent = any

async function eventsIn(folder: string): Promise<SparkEvent[]> {
  const events: SparkEvent[] = []
  for (const name of await readdir(folder)) {
    const lines = (await readFile(join(folder, name), 'utf8')).split('\n')
    // the last one may be half written
    lines.pop()
    for (const line of lines) {
      if (/^\{"Event":"SparkListener(JobStart|JobEnd|TaskEnd|UnpersistRDD)"/.test(line)) events.push(JSON.parse(line))
    }
  }
  return events
}

function sums(events: SparkEvent[]): StageWork[] {
  const stages = new Map<number, StageWork>()
  for (const event of events) {
    if (event.Event !== 'SparkListenerTaskEnd') continue
    const id: number = event['Stage ID']
    const metrics = event['Task Metrics']
    const [input, output] = [metrics['Input Metrics'], metrics['Output Metrics']]
    const shuffled = metrics['Shuffle Write Metrics']
    const of = stages.get(id) ?? nothingYet(id)
    stages.set(id, of)
    of.tasks += 1
    of.runMs += metrics['Executor Run Time']
    of.cpuMs += metrics['Executor CPU Time'] / 1e6
    of.bytesRead += input['Bytes Read']
    of.rowsRead += input['Records Read']
    of.shuffleBytes += shuffled['Shuffle Bytes Written']
    of.shuffleRows += shuffled['Shuffle Records Written']
    of.bytesWritten += output['Bytes Written']
    of.rowsWritten += output['Records Written']
    of.spilledBytes += metrics['Disk Bytes Spilled']
  }
  return [...stages.values()].toSorted((a, b) => a.stage - b.stage)
}

function nothingYet(stage: number): StageWork {
  return {
    ...{ stage, tasks: 0, runMs: 0, cpuMs: 0, bytesRead: 0, rowsRead: 0, shuffleBytes: 0, shuffleRows: 0 },
    ...{ bytesWritten: 0, rowsWritten: 0, spilledBytes: 0 },
  }
}

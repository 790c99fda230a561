/** `run --engine spark`: what a bounded run on Spark needs of the command line, and what it shows. */
import { randomBytes } from 'node:crypto'
import type { Config } from '../config.ts'
import { ownerName, planOf } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import type { SparkProgress } from '../spark/connect.ts'
import type { SparkOutcome, SparkRun } from '../spark/run.ts'
import type { System } from '../system.ts'
import { dropNow } from './drop-now.ts'
import { commandLog, openStore } from './open.ts'
import { bytes, counted, cut } from './text.ts'

export interface SparkRunOptions {
  system: System
  config: Config
  inputs: string[]
  again: boolean
  final: boolean
  /** A folder that Spark can write to, in place of the tables. */
  output: string | undefined
  signal: AbortSignal
}

export async function runOnSpark(options: SparkRunOptions): Promise<SparkOutcome> {
  const { system, config, output, signal } = options
  const { inputs, again, final } = options
  if (system.notOnSpark !== undefined) throw staysHere(system.name, 'run', system.notOnSpark)
  // loaded when it is asked for: nothing else needs it
  const { runIntoParquet, runIntoTables, writeSummary } = await import('../spark/run.ts')
  if (config.spark.remote === undefined) {
    throw new MillraceError('WRONG_USAGE', {
      at: 'SPARK_REMOTE',
      message: 'there is no Spark: SPARK_REMOTE names none',
      hint: 'set it to a Spark Connect server, as sc://host:15002/;token=...',
    })
  }
  using shown = sparkLine(system.name)
  const run: SparkRun = {
    plan: planOf(system, config),
    remote: config.spark.remote,
    inputs,
    again,
    final,
    signal,
    waitMs: config.startupWaitMs,
    onProgress: shown.update,
  }
  if (output !== undefined) {
    const outcome = await runIntoParquet(run, output)
    // where Spark writes may be no folder of this machine
    if (!/^[a-z][a-z0-9+.-]+:\//i.test(output)) await writeSummary(output, outcome)
    return outcome
  }
  await using opened = await openStore(config, commandLog(config), { signal })
  const databaseUrl = config.spark.databaseUrl ?? opened.url
  const owner = `${ownerName()} on Spark ${randomBytes(2).toString('hex')}`
  const outcome = await runIntoTables(run, { store: opened.store, databaseUrl, owner })
  await dropNow(opened.store, config)
  return outcome
}

/** Why nothing of these runs on Spark as a stream, a sentence each. */
export async function refuseStreams(systems: readonly System[], config: Config): Promise<never> {
  const { cutOf } = await import('../spark/cut.ts')
  const [first, ...others] = systems.map((system) => {
    const why = system.notOnSpark ?? cutOf(planOf(system, config)).refused
    return { name: system.name, why }
  })
  const runsThere = [first, ...others].find((each) => each?.why === undefined)
  if (first?.why !== undefined && others.length === 0) throw staysHere(first.name, 'work', first.why)
  throw new MillraceError('NOT_SUPPORTED', {
    at: runsThere?.name ?? '--engine spark',
    message: 'this version runs no stream on Spark; it shows where one would be cut',
    hint: `look at it with millrace explain ${runsThere?.name ?? first?.name} --engine spark; a bounded run is millrace run`,
  })
}

function staysHere(pipeline: string, verb: string, why: string): MillraceError {
  return new MillraceError('NOT_SUPPORTED', {
    at: pipeline,
    message: why,
    hint: `without --engine spark it runs here: millrace ${verb} ${pipeline}`,
  })
}

interface SparkLine extends Disposable {
  update(step: string, progress: SparkProgress | undefined): void
}

const sayEveryMs = 2000

/** What Spark is doing, on stderr: one line drawn over itself on a terminal, a line now and then elsewhere. */
export function sparkLine(
  pipeline: string,
  screen: Pick<NodeJS.WriteStream, 'write' | 'columns' | 'isTTY'> = process.stderr,
  now: () => number = () => performance.now(),
): SparkLine {
  const isDrawn = screen.isTTY === true
  let saidStep = ''
  let saidAt = Number.NEGATIVE_INFINITY
  return {
    update(step, progress) {
      const text = `${pipeline} on Spark: ${step}${progress === undefined ? '' : `, ${farText(progress)}`}`
      if (isDrawn) screen.write(`\r\u001b[2K${cut(text, (screen.columns || 80) - 1)}`)
      else if (step !== saidStep || now() - saidAt >= sayEveryMs) screen.write(`${text}\n`)
      else return
      saidStep = step
      saidAt = now()
    },
    [Symbol.dispose]() {
      if (isDrawn) screen.write('\r\u001b[2K')
    },
  }
}

function farText({ stages, stagesDone, tasks, tasksDone, bytesRead }: SparkProgress): string {
  return `${stagesDone} of ${counted(stages, 'stage')}, ${tasksDone} of ${counted(tasks, 'task')}, ${bytes(bytesRead)} read`
}

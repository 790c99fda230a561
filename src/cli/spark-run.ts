/** `--engine spark` of run and work: what Spark needs of the command line, and what it shows. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { ownerName, planOf, type SystemRun } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'
import { howFar } from '../spark/progress.ts'
import type { SparkOutcome, SparkRun } from '../spark/run.ts'
import type { System } from '../system.ts'
import { dropNow } from './drop-now.ts'
import { commandLog, openStore } from './open.ts'
import { cut } from './text.ts'

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
  const remote = remoteOf(config)
  using shown = sparkLine(system.name)
  const run: SparkRun = {
    plan: planOf(system, config),
    remote,
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

/** Opens the sources of a system for its worker: Spark reads them, and the worker what Spark has made of them. */
export type OpenStreams = (system: System, log: Log) => Promise<NonNullable<SystemRun['openElsewhere']>>

/** `inputs` are folders in place of topics. Errors: NOT_SUPPORTED, of what stays here; WRONG_USAGE. */
export async function streamsOnSpark(
  systems: readonly System[],
  config: Config,
  inputs: string[],
): Promise<OpenStreams> {
  const { cutOf } = await import('../spark/cut.ts')
  const [first, ...others] = systems.flatMap((system) => {
    const why = system.notOnSpark ?? cutOf(planOf(system, config)).refused
    return why === undefined ? [] : [{ name: system.name, why }]
  })
  if (first !== undefined) {
    const names = systems
      .map(({ name }) => name)
      .filter((name) => ![first, ...others].some((each) => each.name === name))
    throw staysHere(first.name, 'work', first.why, names)
  }
  if (inputs.length > 0 && systems.length !== 1)
    throw new MillraceError('WRONG_USAGE', { at: '--input', message: 'folders are of one pipeline: name it' })
  const remote = remoteOf(config)
  const { openStream } = await import('../spark/stream.ts')
  return async (system, log) => {
    const plan = planOf(system, config)
    const { kafka, spark, batchMaxRows } = config
    const options = { plan, remote, inputs, kafka, folder: join(spark.checkpoints, plan.name), log }
    return await openStream({ ...options, rowsInFile: Math.min(batchMaxRows, rowsInFile) })
  }
}

/** Of what Spark hands over; a batch here takes several files, and one at least. */
const rowsInFile = 50_000

function remoteOf({ spark: { remote } }: Config): string {
  if (remote !== undefined) return remote
  throw new MillraceError('WRONG_USAGE', {
    at: 'SPARK_REMOTE',
    message: 'there is no Spark: SPARK_REMOTE names none',
    hint: 'set it to a Spark Connect server, as sc://host:15002/;token=...',
  })
}

// `others` of the same command line do run there.
function staysHere(pipeline: string, verb: string, why: string, others: readonly string[] = []): MillraceError {
  const there = others.length === 0 ? '' : `; there: millrace ${verb} ${others.join(' ')} --engine spark`
  return new MillraceError('NOT_SUPPORTED', {
    at: pipeline,
    message: why,
    hint: `without --engine spark it runs here: millrace ${verb} ${pipeline}${there}`,
  })
}

interface SparkLine extends Disposable {
  update: NonNullable<SparkRun['onProgress']>
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
      const text = `${pipeline} on Spark: ${step}${progress === undefined ? '' : `, ${howFar(progress)}`}`
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

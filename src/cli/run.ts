import { parseArgs } from 'node:util'
import { systems } from '../../pipelines/index.ts'
import { MillraceError } from '../errors.ts'
import { endOfTime } from '../plan/plan.ts'
import type { Store, Verdicts } from '../store/store.ts'
import type { System } from '../system.ts'
import { runShown } from './bounded-run.ts'
import { commandLog, openDuck, openStore, readConfig, systemNamed } from './open.ts'
import { isModulePath } from './own-system.ts'
import { runOnSpark } from './spark-run.ts'
import { jsonOption, type Options, parseOptions, textOption, type Verb, type VerbOption } from './verb.ts'

// The settings of a system that are options too.
function optionsOf({ name, settings }: System): Record<string, VerbOption> {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([variable, { option, says, choices }]) => {
      if (option === undefined) return []
      return [
        [option, { type: 'string', says: `of ${name}: ${variable}, ${says}`, ...(choices ? { takes: choices } : {}) }],
      ]
    }),
  )
}

/** Those of the systems that ship; a pipeline of one's own may have others. */
const shippedOptions: Record<string, VerbOption> = Object.assign({}, ...systems.map(optionsOf))

// One that belongs to another system would be ignored otherwise.
function settingsOf(system: System, options: Options): Record<string, string> {
  const given: Record<string, string> = {}
  for (const option of Object.keys(shippedOptions)) {
    if (options[option] === undefined || optionsOf(system)[option] !== undefined) continue
    throw new MillraceError('WRONG_USAGE', { at: `--${option}`, message: `${system.name} has no such option` })
  }
  for (const [variable, { option }] of Object.entries(system.settings)) {
    const value = option === undefined ? undefined : textOption(options, option)
    if (value !== undefined) given[variable] = value
  }
  return given
}

interface Ran {
  books: Verdicts
  batches: number
  filesQuarantined: number
  problems: MillraceError[]
  /** Where the files of the run are. */
  files?: string | undefined
}

export const run: Verb = {
  says: 'Runs a pipeline over what is there now, then stops with the books.',
  usage: `<pipeline> [--input PATH...] [--again] [--from-beginning] [--final] [--engine duckdb|spark] [--output DIR] ${Object.entries(
    shippedOptions,
  )
    .map(([name, { takes }]) => `[--${name} ${Array.isArray(takes) ? takes.join('|') : 'VALUE'}]`)
    .join(' ')} [--json]`,
  options: {
    input: {
      type: 'string',
      multiple: true,
      says: 'a file, folder or glob to read where it lies; may be repeated',
      takes: 'a path',
    },
    again: { type: 'boolean', says: 'read files that were read before, and have changed or not, as new ones' },
    'from-beginning': {
      type: 'boolean',
      says: 'the pipeline begins at the earliest message of its topics; a run that was cut short goes on, and what was read otherwise is refused',
    },
    final: {
      type: 'boolean',
      says: 'nothing will follow: the last windows are closed, and whatever comes later is late',
    },
    engine: {
      type: 'string',
      says: 'duckdb, here, which is what it does anyway; or spark, at SPARK_REMOTE',
      takes: ['duckdb', 'spark'],
    },
    output: {
      type: 'string',
      says: 'where rows go that a --final run writes as files; MILLRACE_DATA/runs/<run> when not given; with spark: where all tables go, as Parquet and not into Postgres',
      takes: 'a path',
    },
    once: { type: 'boolean', says: 'accepted, and says what a run does anyway' },
    ...shippedOptions,
    ...jsonOption,
  },
  async ownOptions(args) {
    const { positionals } = parseArgs({ args, options: parseOptions(run.options), strict: false })
    const [name] = positionals
    return name !== undefined && isModulePath(name) ? optionsOf(await systemNamed(name)) : {}
  },
  examples: [
    'millrace run shop-events --input events.csv',
    'millrace run ./orders.ts --input orders.csv',
    "millrace run shop-events --input 'archive/2026-*.csv' --json",
    "millrace run flyers --engine spark --final --input 's3a://logs/2026-*.parquet'",
  ],
  async run({ words, options, signal, out }) {
    const [name, ...more] = words
    const system = await systemNamed(name)
    // `--input a.csv b.csv`, as a shell makes it of a glob
    const inputs = [...(Array.isArray(options['input']) ? options['input'] : []), ...more]
    if (more.length > 0 && !Array.isArray(options['input'])) {
      throw new MillraceError('WRONG_USAGE', { message: `what is "${more[0]}"?`, hint: 'files are given with --input' })
    }
    const { config } = readConfig({ given: settingsOf(system, options) })
    const started = performance.now()
    const tell = (ran: Ran): void => {
      for (const problem of ran.problems) process.stderr.write(`${problem}\n`)
      const { books } = ran
      const summary = {
        pipeline: system.name,
        rows_in: books.rowsIn,
        written: books.written,
        filtered: books.filtered,
        duplicates: books.duplicates,
        late: books.late,
        dead: books.dead,
        batches: ran.batches,
        files_quarantined: ran.filesQuarantined,
        ...(ran.files === undefined ? {} : { files: ran.files }),
        seconds: Math.round(performance.now() - started) / 1000,
      }
      if (options['json'] === true) out(JSON.stringify(summary))
      else {
        for (const [label, value] of Object.entries(summary)) out(`${label.replaceAll('_', ' ').padEnd(18)}${value}`)
      }
    }
    const engine = options['engine'] ?? 'duckdb'
    if (engine !== 'duckdb' && engine !== 'spark') {
      throw new MillraceError('WRONG_USAGE', { at: '--engine', message: `"${engine}" is not duckdb or spark` })
    }
    const output = textOption(options, 'output')
    const [again, final] = [options['again'] === true, options['final'] === true]
    if (engine === 'spark') {
      if (options['from-beginning'] === true)
        throw new MillraceError('WRONG_USAGE', { message: 'Spark reads files: --from-beginning is said of topics' })
      const outcome = await runOnSpark({ system, config, inputs, again, final, output, signal })
      tell({ ...outcome, batches: outcome.books.rowsIn === 0 ? 0 : 1, files: output })
      return outcome.problems.length > 0 ? 1 : 0
    }
    await using opened = await openStore(config, commandLog(config), { signal })
    if (options['from-beginning'] === true) await mustBeNew(opened.store, system.name)
    await using duck = await openDuck(config, [system], { bounded: true })
    const problems: MillraceError[] = []
    const result = await runShown(
      {
        system,
        config,
        duck,
        signal,
        bounded: {
          inputs: inputs.length === 0 ? undefined : inputs,
          again,
          final,
          output,
        },
        onProblem: (problem) => problems.push(problem),
      },
      opened,
    )
    tell({ ...result, problems })
    return problems.length > 0 || signal.aborted ? 1 : 0
  },
}

// To read on would not be from the beginning, and to read again would count twice: but for a run that was begun so, and that
// has not come to its end.
async function mustBeNew(store: Store, pipeline: string): Promise<void> {
  const { batch, positions, watermark = 0 } = await store.committed(pipeline)
  if (positions.length === 0) return
  const lines = [...(await store.ledger(pipeline, { first: 1 })), ...(await store.ledger(pipeline, { last: 1 }))]
  if (watermark < endOfTime && lines.every(({ kind }) => kind === 'backfill')) return
  throw new MillraceError('WRONG_USAGE', {
    at: pipeline,
    message: `it has read its topics up to batch ${batch}, and would count again what it has counted`,
    hint: `forget what it has read with: millrace reset ${pipeline} --results`,
  })
}

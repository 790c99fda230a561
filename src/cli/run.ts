import { MillraceError } from '../errors.ts'
import type { Store } from '../store/store.ts'
import { runShown } from './bounded-run.ts'
import { commandLog, openDuck, openStore, readConfig, systemNamed } from './open.ts'
import type { Verb } from './verb.ts'
import { jsonOption } from './verb.ts'

export const run: Verb = {
  says: 'Runs a pipeline over what is there now, then stops with the books.',
  usage: '<pipeline> [--input PATH...] [--again] [--from-beginning] [--final] [--json]',
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
      says: 'the pipeline begins at the earliest message of its topics; refused when it has read some already',
    },
    final: {
      type: 'boolean',
      says: 'nothing will follow: the last windows are closed, and whatever comes later is late',
    },
    once: { type: 'boolean', says: 'accepted, and says what a run does anyway' },
    ...jsonOption,
  },
  examples: [
    'millrace run shop-events --input events.csv',
    'millrace run ./orders.ts --input orders.csv',
    "millrace run shop-events --input 'archive/2026-*.csv' --json",
  ],
  async run({ words, options, signal, out }) {
    const [name, ...more] = words
    const system = await systemNamed(name)
    // `--input a.csv b.csv`, as a shell makes it of a glob
    const inputs = [...(Array.isArray(options['input']) ? options['input'] : []), ...more]
    if (more.length > 0 && !Array.isArray(options['input'])) {
      throw new MillraceError('WRONG_USAGE', { message: `what is "${more[0]}"?`, hint: 'files are given with --input' })
    }
    const { config } = readConfig()
    const started = performance.now()
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
          again: options['again'] === true,
          final: options['final'] === true,
        },
        onProblem: (problem) => problems.push(problem),
      },
      opened,
    )
    for (const problem of problems) process.stderr.write(`${problem}\n`)
    const seconds = Math.round(performance.now() - started) / 1000
    const { books } = result
    const summary = {
      pipeline: system.name,
      rows_in: books.rowsIn,
      written: books.written,
      filtered: books.filtered,
      duplicates: books.duplicates,
      late: books.late,
      dead: books.dead,
      batches: result.batches,
      files_quarantined: result.filesQuarantined,
      seconds,
    }
    if (options['json'] === true) out(JSON.stringify(summary))
    else {
      for (const [label, value] of Object.entries(summary)) out(`${label.replaceAll('_', ' ').padEnd(18)}${value}`)
    }
    return problems.length > 0 || signal.aborted ? 1 : 0
  },
}

// To read on would not be from the beginning, and to read again would count twice.
async function mustBeNew(store: Store, pipeline: string): Promise<void> {
  const { batch, positions } = await store.committed(pipeline)
  if (positions.length === 0) return
  throw new MillraceError('WRONG_USAGE', {
    at: pipeline,
    message: `it has read its topics up to batch ${batch}, and would count again what it has counted`,
    hint: `forget what it has read with: millrace reset ${pipeline} --results`,
  })
}

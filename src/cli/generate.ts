import { randomInt } from 'node:crypto'
import { appendFile, mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systems } from '../../pipelines/index.ts'
import type { Config } from '../config.ts'
import { rotate } from '../engine/effects.ts'
import { planOf } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import type { GenerateSummary, System } from '../system.ts'
import { commandLog, openStore, readConfig, systemNamed } from './open.ts'
import { isModulePath } from './own-system.ts'
import { convertToParquet, csvBeside } from './sample-parquet.ts'
import { openSampleTopics } from './sample-topics.ts'
import { counted } from './text.ts'
import {
  jsonOption,
  noWords,
  type Options,
  parseOptions,
  textOption,
  type Verb,
  type VerbOption,
  wholeNumberOption,
} from './verb.ts'

const usualOptions: Record<string, VerbOption> = {
  'events-per-second': { type: 'string', says: 'at this rate; 10 when neither a rate nor a count is given' },
  duration: { type: 'string', says: 'for so many seconds; without it, until stopped' },
  count: {
    type: 'string',
    says: 'so many events; without a rate at once, and with a duration spread over so much of time',
  },
  seed: { type: 'string', says: 'the same seed makes the same bytes, from 2026-01-01T00:00:00Z on' },
  'bad-percent': { type: 'string', says: 'of the events, so many are wrong in some way' },
  'duplicate-percent': { type: 'string', says: 'of the events, so many repeat an earlier one' },
  to: { type: 'string', says: 'write this file instead', takes: 'a path' },
  bulk: {
    type: 'boolean',
    says: 'write straight into the tables, of a pipeline that can; its tasks find the rows there',
  },
  ...jsonOption,
}

/** Those of the generators that ship; a pipeline of one's own may have others. */
const shippedOptions: Record<string, VerbOption> = Object.assign({}, ...systems.map(optionsOf))

export const generate: Verb = {
  says: 'Makes sample data, by the same road a user would take.',
  usage: `<pipeline> [--events-per-second N] [--duration S] [--count N] [--seed N] [--bad-percent P] [--duplicate-percent P] [--to FILE] [--bulk] ${Object.keys(
    shippedOptions,
  )
    .map((name) => `[--${name} N]`)
    .join(' ')} [--json]`,
  options: { ...usualOptions, ...shippedOptions },
  async ownOptions(args) {
    const { positionals } = parseArgs({ args, options: parseOptions(usualOptions), strict: false })
    const path = positionals.find(isModulePath)
    return path === undefined ? {} : optionsOf(await systemNamed(path))
  },
  examples: [
    'millrace generate shop-events --events-per-second 10 --duration 60',
    'millrace generate shop-events --count 100000 --seed 7 --bad-percent 2 --to events.csv',
    'millrace generate telemetra --count 100000 --duration 3600 --streams 20',
  ],
  async run({ words, options, signal, out }) {
    const system = await systemNamed(words[0])
    noWords(words.slice(1))
    const { config } = readConfig()
    const request = { ...requestOf(options), options: ownOf(system, options) }
    const progress = eventCount()
    const { lastFile, topics, ...summary } = await runGenerator(system, config, request, signal, progress.add)
    progress.end()
    if (options['json'] === true) out(JSON.stringify({ pipeline: system.name, ...summary }))
    else {
      const { bad, late = 0, duplicates } = summary
      const wrong = bad + late + duplicates === 0 ? '' : `, ${wrongOnes(bad, late, duplicates)}`
      out(`${counted(summary.events, 'event')} in ${placeOf(summary, topics, request.bulk === true)}${wrong}`)
      if (lastFile !== undefined) out(`the last one is ${lastFile}`)
      if (request.seed === undefined) out(`drawn with seed ${summary.seed}; times are now`)
    }
    return 0
  },
}

function placeOf({ files }: GenerateSummary, topics: readonly string[], bulk: boolean): string {
  if (bulk) return 'the database'
  if (topics.length === 0) return counted(files, 'file')
  return `${topics.length === 1 ? 'the topic' : 'the topics'} ${topics.join(' and ')}`
}

function wrongOnes(bad: number, late: number, duplicates: number): string {
  return `${bad} of them bad${late === 0 ? '' : `, ${late} late`} and ${counted(duplicates, 'repeat')}`
}

// The options of a system's own generator, as the verb takes them.
function optionsOf({ name, generate }: System): Record<string, VerbOption> {
  return Object.fromEntries(
    Object.entries(generate?.options ?? {}).map(([option, { says, default: usual }]) => [
      option,
      { type: 'string', says: `of ${name}: ${says}; ${usual} when not given` },
    ]),
  )
}

// What was given of them. One that belongs to another system would be ignored otherwise.
function ownOf({ name, generate }: System, options: Options): Record<string, string> {
  const own: Record<string, string> = {}
  for (const [option, value] of Object.entries(options)) {
    if (Object.hasOwn(usualOptions, option) || typeof value !== 'string') continue
    if (!Object.hasOwn(generate?.options ?? {}, option)) {
      throw new MillraceError('WRONG_USAGE', {
        at: `--${option}`,
        message: `the generator of ${name} has no such option`,
      })
    }
    own[option] = value
  }
  return own
}

/** What the options ask for. */
export function requestOf(options: Options): Request {
  const count = wholeNumberOption(options, 'count')
  return {
    eventsPerSecond:
      numberOption(options, 'events-per-second', 'more than 0', (value) => value > 0) ??
      (count === undefined ? 10 : undefined),
    durationSeconds: numberOption(options, 'duration', 'more than 0', (value) => value > 0),
    count,
    seed: wholeNumberOption(options, 'seed'),
    badPercent: percentOption(options, 'bad-percent'),
    duplicatePercent: percentOption(options, 'duplicate-percent'),
    to: textOption(options, 'to'),
    bulk: options['bulk'] === true,
  }
}

function percentOption(options: Options, name: string): number {
  return numberOption(options, name, 'from 0 to 100', (value) => value >= 0 && value <= 100) ?? 0
}

function numberOption(
  options: Options,
  name: string,
  which: string,
  fits: (value: number) => boolean,
): number | undefined {
  const text = textOption(options, name)
  if (text === undefined) return undefined
  const value = /^[+-]?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (fits(value)) return value
  throw new MillraceError('WRONG_USAGE', { at: `--${name}`, message: `"${text}" is not a number ${which}` })
}

// On a terminal: how many there are by now.
function eventCount(): { add: (events: number) => void; end: () => void } {
  let count = 0
  const shown = process.stderr.isTTY === true
  return {
    add(events) {
      count += events
      if (shown) process.stderr.write(`\r\u001b[2K${counted(count, 'event')}`)
    },
    end() {
      if (shown && count > 0) process.stderr.write('\r\u001b[2K')
    },
  }
}

export interface Request {
  eventsPerSecond?: number | undefined
  durationSeconds?: number | undefined
  count?: number | undefined
  seed?: number | undefined
  badPercent: number
  duplicatePercent: number
  to?: string | undefined
  /** Straight into the tables. */
  bulk?: boolean
  /** Those of the system's own generator that were given. */
  options?: Record<string, string>
}

/** Runs a system's generator and writes a line of its metrics log per file, and per append to a topic. */
export async function runGenerator(
  system: System,
  config: Config,
  request: Request,
  signal: AbortSignal,
  onEvents?: (events: number) => void,
): Promise<GenerateSummary & { seed: number; lastFile: string | undefined; topics: readonly string[] }> {
  if (system.generate === undefined) {
    throw new MillraceError('NOT_SUPPORTED', { at: system.name, message: 'this pipeline has no generator' })
  }
  if (request.bulk === true && system.generate.bulk !== true) {
    throw new MillraceError('WRONG_USAGE', { at: '--bulk', message: `the generator of ${system.name} cannot do that` })
  }
  const seed = request.seed ?? randomInt(2 ** 31)
  await using opened = request.bulk === true ? await openStore(config, commandLog(config), { signal }) : undefined
  await using sessions = opened?.store.sessions(1)
  const log = join(config.dataDirectory, 'logs', 'generator_metrics.log')
  await mkdir(join(config.dataDirectory, 'logs'), { recursive: true })
  let lastFile: string | undefined
  const parquet = request.to !== undefined && /\.parquet$/i.test(request.to) ? request.to : undefined
  const to = parquet === undefined ? request.to : csvBeside(parquet)
  const note = async (made: Record<string, unknown>): Promise<void> => {
    await rotate(log)
    await appendFile(log, `${JSON.stringify({ time: new Date().toISOString(), pipeline: system.name, ...made })}\n`)
  }
  await using topics = openSampleTopics({
    config,
    to,
    async onAppended(appended) {
      onEvents?.(appended.events)
      await note({ ...appended })
    },
  })
  const usual = Object.entries(system.generate.options ?? {}).map(([name, { default: value }]) => [name, value])
  const summary = await system.generate.run({
    settings: config.settings,
    eventsPerSecond: request.eventsPerSecond,
    durationSeconds: request.durationSeconds,
    count: request.count,
    seed,
    startTime: request.seed === undefined ? new Date() : new Date('2026-01-01T00:00:00Z'),
    live: request.seed === undefined,
    badPercent: request.badPercent,
    duplicatePercent: request.duplicatePercent,
    to,
    options: { ...Object.fromEntries(usual), ...request.options },
    topic: topics.topic,
    bulk:
      opened === undefined || sessions === undefined
        ? undefined
        : {
            sql: async (statement, values) => (await sessions.query(statement, values)).rows,
            enqueue: (task, keys) => opened.store.requestTask(system.name, task, keys),
          },
    signal,
    async onFile(file) {
      if (parquet !== undefined) {
        await convertToParquet(file.path, parquet, planOf(system, config))
        file = { ...file, path: parquet, bytes: (await stat(parquet)).size }
      }
      lastFile = file.path
      onEvents?.(file.events)
      await note({ ...file })
    },
  })
  const written = signal.aborted ? undefined : await topics.finish()
  if (parquet !== undefined && written !== undefined) {
    await rm(written)
    throw new MillraceError('WRONG_USAGE', {
      at: `--to ${parquet}`,
      message: `the generator of ${system.name} writes messages, each a line of JSON`,
      hint: 'give a name that ends with .jsonl',
    })
  }
  return {
    ...summary,
    files: summary.files + (written === undefined ? 0 : 1),
    seed,
    lastFile: written ?? lastFile,
    topics: written === undefined ? topics.names() : [],
  }
}

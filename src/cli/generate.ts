import { randomInt } from 'node:crypto'
import { appendFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { rotate } from '../engine/effects.ts'
import { MillraceError } from '../errors.ts'
import type { GenerateSummary, System } from '../system.ts'
import { readConfig, systemNamed } from './open.ts'
import { counted } from './text.ts'
import { jsonOption, noWords, type Options, textOption, type Verb, wholeNumberOption } from './verb.ts'

export const generate: Verb = {
  says: 'Makes sample data, by the same road a user would take.',
  usage:
    '<pipeline> [--events-per-second N] [--duration S] [--count N] [--seed N] [--bad-percent P] [--duplicate-percent P] [--to FILE] [--json]',
  options: {
    'events-per-second': { type: 'string', says: 'at this rate; 10 when neither a rate nor a count is given' },
    duration: { type: 'string', says: 'for so many seconds; without it, until stopped' },
    count: { type: 'string', says: 'so many events; without a rate, at once' },
    seed: { type: 'string', says: 'the same seed makes the same bytes, from 2026-01-01T00:00:00Z on' },
    'bad-percent': { type: 'string', says: 'of the events, so many are wrong in some way' },
    'duplicate-percent': { type: 'string', says: 'of the events, so many repeat an earlier one' },
    to: { type: 'string', says: 'write this file instead', takes: 'a path' },
    ...jsonOption,
  },
  examples: [
    'millrace generate shop-events --events-per-second 10 --duration 60',
    'millrace generate shop-events --count 100000 --seed 7 --bad-percent 2 --to events.csv',
  ],
  async run({ words, options, signal, out }) {
    const system = await systemNamed(words[0])
    noWords(words.slice(1))
    const { config } = readConfig()
    const request = requestOf(options)
    const progress = eventCount()
    const { lastFile, ...summary } = await runGenerator(system, config, request, signal, progress.add)
    progress.end()
    if (options['json'] === true) out(JSON.stringify({ pipeline: system.name, ...summary }))
    else {
      const wrong =
        summary.bad + summary.duplicates === 0
          ? ''
          : `, ${summary.bad} of them bad and ${counted(summary.duplicates, 'repeat')}`
      out(`${counted(summary.events, 'event')} in ${counted(summary.files, 'file')}${wrong}`)
      if (lastFile !== undefined) out(`the last one is ${lastFile}`)
      if (request.seed === undefined) out(`drawn with seed ${summary.seed}; times are now`)
    }
    return 0
  },
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
}

/** Runs a system's generator and writes a line of its metrics log per file. */
export async function runGenerator(
  system: System,
  config: Config,
  request: Request,
  signal: AbortSignal,
  onEvents?: (events: number) => void,
): Promise<GenerateSummary & { seed: number; lastFile: string | undefined }> {
  if (system.generate === undefined) {
    throw new MillraceError('NOT_SUPPORTED', { at: system.name, message: 'this pipeline has no generator' })
  }
  const seed = request.seed ?? randomInt(2 ** 31)
  const log = join(config.dataDirectory, 'logs', 'generator_metrics.log')
  await mkdir(join(config.dataDirectory, 'logs'), { recursive: true })
  let lastFile: string | undefined
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
    to: request.to,
    options: {},
    signal,
    async onFile(file) {
      lastFile = file.path
      onEvents?.(file.events)
      await rotate(log)
      await appendFile(log, `${JSON.stringify({ time: new Date().toISOString(), pipeline: system.name, ...file })}\n`)
    },
  })
  return { ...summary, seed, lastFile }
}

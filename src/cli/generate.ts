import { randomInt } from 'node:crypto'
import { appendFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { rotate } from '../engine/effects.ts'
import { MillraceError } from '../errors.ts'
import type { GenerateSummary, System } from '../system.ts'
import { readConfig, systemNamed } from './open.ts'
import { counted } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

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
    to: { type: 'string', says: 'write this file instead' },
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
    const number = (name: string): number | undefined => {
      const given = options[name]
      if (given === undefined) return undefined
      const value = Number(given)
      if (typeof given === 'string' && given.trim() !== '' && Number.isFinite(value) && value >= 0) return value
      throw new MillraceError('WRONG_USAGE', {
        at: `--${name}`,
        message: `"${String(given)}" is not a number of 0 or more`,
      })
    }
    const count = number('count')
    const seed = number('seed')
    const request: Request = {
      eventsPerSecond: number('events-per-second') ?? (count === undefined ? 10 : undefined),
      durationSeconds: number('duration'),
      count,
      seed,
      badPercent: number('bad-percent') ?? 0,
      duplicatePercent: number('duplicate-percent') ?? 0,
      ...(typeof options['to'] === 'string' ? { to: options['to'] } : {}),
    }
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
      if (seed === undefined) out(`drawn with seed ${summary.seed}; times are now`)
    }
    return 0
  },
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

interface Request {
  eventsPerSecond?: number | undefined
  durationSeconds?: number | undefined
  count?: number | undefined
  seed?: number | undefined
  badPercent: number
  duplicatePercent: number
  to?: string
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

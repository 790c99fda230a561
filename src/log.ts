/** The one logger: a line of JSON per event on stderr, or a short readable line when a person looks at a terminal. */
import { styleText } from 'node:util'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export interface Log {
  debug(event: string, fields?: Record<string, unknown>): void
  info(event: string, fields?: Record<string, unknown>): void
  warn(event: string, fields?: Record<string, unknown>): void
  error(event: string, fields?: Record<string, unknown>): void
}

const order: LogLevel[] = ['debug', 'info', 'warn', 'error']

export function createLog(
  level: LogLevel,
  options: { write?: (line: string) => void; readable?: boolean; now?: () => Date } = {},
): Log {
  const {
    write = (line) => process.stderr.write(`${line}\n`),
    readable = process.stderr.isTTY,
    now = () => new Date(),
  } = options
  const at =
    (lineLevel: LogLevel) =>
    (event: string, fields: Record<string, unknown> = {}) => {
      if (order.indexOf(lineLevel) < order.indexOf(level)) return
      write(readable ? readableLine(now(), lineLevel, event, fields) : jsonLine(now(), lineLevel, event, fields))
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function jsonLine(time: Date, level: LogLevel, event: string, fields: Record<string, unknown>): string {
  return JSON.stringify({ time: time.toISOString(), level, event, ...fields })
}

const colours = { debug: 'gray', info: 'cyan', warn: 'yellow', error: 'red' } as const

function readableLine(time: Date, level: LogLevel, event: string, fields: Record<string, unknown>): string {
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const clock = time.toISOString().slice(11, 19)
  return `${styleText('gray', clock)} ${styleText(colours[level], level.padEnd(5))} ${event}${rest.length ? ` ${styleText('gray', rest.join(' '))}` : ''}`
}

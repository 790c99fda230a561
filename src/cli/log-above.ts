import type { Config } from '../config.ts'
import { createLog, type Log } from '../log.ts'

/**
 * The log while something is drawn on the terminal: what matters stands above it, and everything where everything was
 * asked for. That a pipeline retries stands in what is drawn.
 */
export function logAbove({ logLevel }: Config, print: (line: string) => void): Log {
  const level = logLevel === 'info' ? 'warn' : logLevel
  if (process.stderr.isTTY !== true) return createLog(level)
  const log = createLog(level, { write: print, readable: true })
  return {
    ...log,
    warn: (event, fields) => {
      if (event !== 'retrying') log.warn(event, fields)
    },
  }
}

/** Millrace as a process of its own: what it says, and how it ends, which is with its test at the latest. */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

export interface LogLine {
  level: string
  event: string
  [field: string]: unknown
}

export interface End {
  code: number | null
  signal: NodeJS.Signals | null
}

/** A running `millrace <verb>`; disposing of it kills it. */
export interface Millrace extends AsyncDisposable {
  readonly pid: number
  readonly log: readonly LogLine[]
  /** Everything on stdout so far. */
  readonly out: string
  readonly end: End | undefined
  /** All that is known of it, for the message of a failure. */
  story(): string
  ended(withinMs?: number): Promise<End>
  /** The first line of the log with this event, at once or when it comes; `from`: not among so many lines at its start. */
  says(event: string, options?: { from?: number; withinMs?: number }): Promise<LogLine>
  signal(name: NodeJS.Signals): void
  /** Asks it to stop, and answers how it ended. */
  stop(withinMs?: number): Promise<End>
}

const main = join(import.meta.dirname, '../../src/cli/main.ts')
const running = new Set<ChildProcess>()
/** What else must not outlive this process as it is. */
export const lastWishes = new Set<() => void>()

// Whatever ends this process, a test runner's SIGTERM too, ends those it has started.
process.on('exit', killAll)
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(name, () => {
    killAll()
    process.exit(128 + constants.signals[name])
  })
}

function killAll(): void {
  for (const child of running) child.kill('SIGKILL')
  for (const wish of lastWishes) wish()
}

export function startMillrace(args: string[], cwd: string, env: Record<string, string>): Millrace {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    // nothing of the test runner's own environment but what a program needs, and what halves the time of its start
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      TMPDIR: process.env['TMPDIR'],
      NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  const log: LogLine[] = []
  let out = ''
  let rest = ''
  let unreadable = ''
  let end: End | undefined
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      // as: what the log writes; anything else is kept for the message of a failure
      if (line.startsWith('{"time"')) log.push(JSON.parse(line) as LogLine)
      else unreadable += `${line}\n`
    }
  })
  const close = new Promise<End>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      running.delete(child)
      end = { code, signal }
      resolve(end)
    })
  })
  close.catch(() => {})
  const story = (): string =>
    `millrace ${args.join(' ')} (pid ${child.pid}) ${end ? `ended: ${JSON.stringify(end)}` : 'runs'}; it said:\n${out}${unreadable}${rest}${log.map((line) => JSON.stringify(line)).join('\n')}`
  return {
    pid: child.pid ?? 0,
    log,
    get out() {
      return out
    },
    get end() {
      return end
    },
    story,
    async ended(withinMs = 30_000) {
      const late = new AbortController()
      try {
        return await Promise.race([
          close,
          pause(withinMs, undefined, { signal: late.signal }).then(() => {
            throw new Error(`it has not ended within ${withinMs} ms: ${story()}`)
          }),
        ])
      } finally {
        late.abort()
      }
    },
    async says(event, { from = 0, withinMs = 20_000 } = {}) {
      return await eventually(
        async () => {
          const line = log.slice(from).find((candidate) => candidate.event === event)
          if (line === undefined && end !== undefined) throw new Error(`it never said "${event}": ${story()}`)
          return line
        },
        { what: () => `it says "${event}": ${story()}`, withinMs },
      )
    },
    signal(name) {
      child.kill(name)
    },
    async stop(withinMs = 15_000) {
      child.kill('SIGTERM')
      return await this.ended(withinMs)
    },
    async [Symbol.asyncDispose]() {
      if (end !== undefined) return
      child.kill('SIGKILL')
      await close.catch(() => {})
    },
  }
}

/** Looks until there is an answer, for as long as a condition may take to become true. */
export async function eventually<T>(
  look: () => Promise<T | undefined | false>,
  { what, withinMs = 30_000, everyMs = 20 }: { what: () => string; withinMs?: number; everyMs?: number },
): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what()}`)
    await pause(everyMs)
  }
}

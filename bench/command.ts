/** Runs a command with bounds: it ends in time, it ends with the bench, and what it said is kept for its errors. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface Command {
  program: string
  args: string[]
  env?: NodeJS.ProcessEnv
  signal: AbortSignal
}

export interface Running extends AsyncDisposable {
  readonly pid: number
  readonly child: ChildProcess
  /** The last lines of what it wrote. */
  said(): string
  /** Resolves with what it wrote to stdout when it ends well, else rejects. */
  readonly ended: Promise<string>
}

/** Starts a command in a process group of its own, so that ending it ends what it started. */
export function startCommand({ program, args, env = {}, signal }: Command): Running {
  signal.throwIfAborted()
  const child = spawn(program, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  let out = ''
  let all = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    all = (all + text).slice(-8000)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    all = (all + text).slice(-8000)
  })
  const end = () => killGroup(child, 'SIGKILL')
  signal.addEventListener('abort', end, { once: true })
  const finish = async (): Promise<string> => {
    try {
      const [code, killedBy] = await once(child, 'close')
      if (signal.aborted) throw new Error(`${program} ${args[0]} was ended: ${String(signal.reason)}`)
      if (code === 0) return out
      throw new Error(`${program} ${args.join(' ')}\nended with ${code ?? killedBy}:\n${all}`)
    } finally {
      signal.removeEventListener('abort', end)
    }
  }
  const ended = finish()
  // whoever waits for it hears of it; nobody may be waiting yet
  ended.catch(() => {})
  if (child.pid === undefined) throw new Error(`${program} cannot be run: is it installed?`)
  return {
    pid: child.pid,
    child,
    said: () => all,
    ended,
    async [Symbol.asyncDispose]() {
      end()
      await ended.catch(() => {})
    },
  }
}

/** Runs a command to its end and gives its stdout. */
export async function runCommand(command: Command): Promise<string> {
  await using running = startCommand(command)
  return await running.ended
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // it has just ended
  }
}

/** The JSON object on the last line of a command's stdout. */
export function lastJson<T>(out: string): T {
  const line = out.trimEnd().split('\n').at(-1) ?? ''
  try {
    // as: the commands' contracts are written where they are called
    return JSON.parse(line) as T
  } catch {
    throw new Error(`the last line is not JSON: ${line.slice(0, 200)}`)
  }
}

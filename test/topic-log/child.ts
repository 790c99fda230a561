/** Parts of the local log's tests that run in a process of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface Child extends AsyncDisposable {
  readonly pid: number
  /** The next line it writes; undefined at its end. */
  line(): Promise<string | undefined>
  /** Ends it with SIGKILL, and answers the lines that were not read. */
  kill(): Promise<string[]>
  ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts `test/topic-log/<program>` with these arguments. */
export function startChild(program: string, args: string[], env: Record<string, string> = {}): Child {
  const child = spawn(process.execPath, [join(import.meta.dirname, program), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  running.add(child)
  const closed = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string | undefined> => {
    const { value, done } = await lines.next()
    return done === true ? undefined : value
  }
  const ended = async (): Promise<{ code: number | null; signal: NodeJS.Signals | null }> => {
    const [code, signal] = await closed
    running.delete(child)
    return { code, signal }
  }
  return {
    pid: child.pid ?? 0,
    line,
    ended,
    async kill() {
      child.kill('SIGKILL')
      const rest: string[] = []
      for (;;) {
        const next = await line()
        if (next === undefined) break
        rest.push(next)
      }
      await ended()
      return rest
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended()
    },
  }
}

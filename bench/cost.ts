/** Runs a peer's command, and says what it cost. */
import { mkdtempDisposable, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Command, startCommand } from './command.ts'
import { Peak, processorSeconds } from './processes.ts'

export interface Cost {
  /** The whole command, from its start to its end. */
  wallSeconds: number
  memoryMb: number
  /** Processor time, which a busy machine stretches less than it does the clock's. */
  processorSeconds: number
}

/** Memory and processor time are sampled; of a Node program that ends well they are exact, for it says them itself. */
export async function measured(
  command: Command,
  memoryOf: (pid: number) => number,
): Promise<{ out: string; cost: Cost }> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-bench-'))
  const said = join(folder.path, 'cost')
  const hook = pathToFileURL(join(import.meta.dirname, 'cost-at-exit.ts')).href
  const env = { ...command.env, BENCH_COST: said, NODE_OPTIONS: `--import ${hook}` }
  const started = performance.now()
  await using running = startCommand(command.program === process.execPath ? { ...command, env } : command)
  using memory = new Peak(() => memoryOf(running.pid))
  using processor = new Peak(() => processorSeconds(running.pid))
  const out = await running.ended
  const wallSeconds = (performance.now() - started) / 1000
  const text = await readFile(`${said}.${running.pid}`, 'utf8').catch(() => '0 0')
  const [memoryMb = 0, seconds = 0] = text.split(' ').map(Number)
  return {
    out,
    cost: {
      wallSeconds,
      memoryMb: Math.round(Math.max(memory.most, memoryMb)),
      processorSeconds: Math.max(processor.most, seconds),
    },
  }
}

/** Memory and processor time of running processes, from /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** Samples a figure until it is disposed of, and keeps the largest. */
export class Peak implements Disposable {
  #most = 0
  readonly #measure: () => number
  readonly #timer: NodeJS.Timeout

  constructor(measure: () => number) {
    this.#measure = measure
    this.#timer = setInterval(() => this.#take(), 250)
    this.#take()
  }

  #take() {
    this.#most = Math.max(this.#most, this.#measure())
  }

  get most(): number {
    return this.#most
  }

  [Symbol.dispose]() {
    clearInterval(this.#timer)
  }
}

/** The most that one process has held so far, kept by the kernel, in MB. */
export function highWaterMark(pid: number): number {
  return (status(pid).get('VmHWM') ?? 0) / 1e6
}

/** What a process and all its descendants hold now, in MB; pages they share are counted for each. */
export function residentOfTree(pid: number): number {
  return sum(tree(pid), (one) => status(one).get('VmRSS') ?? 0) / 1e6
}

/** What a Postgres server holds now, in MB: private memory of its processes, and its shared buffers once. */
export function residentOfPostgres(pid: number): number {
  const processes = tree(pid).map(status)
  const shared = Math.max(0, ...processes.map((one) => one.get('RssShmem') ?? 0))
  return (sum(processes, (one) => one.get('RssAnon') ?? 0) + shared) / 1e6
}

/** Seconds of processor time that a process and its descendants have used, those included that have ended. */
export function processorSeconds(pid: number): number {
  // user and system, of the process itself and of the children it has waited for; Linux counts in hundredths
  return sum(tree(pid), (one) => sum(statOf(one).slice(11, 15), Number)) / 100
}

function tree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    const parent = Number(statOf(pid)[1])
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const found = [root]
  for (const pid of found) found.push(...(children.get(pid) ?? []))
  return found
}

/** The fields of /proc/<pid>/stat from the third on; none if the process has ended. */
function statOf(pid: number): string[] {
  const stat = read(`/proc/${pid}/stat`)
  // the second, the command's name, may hold anything between its parentheses
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
}

function status(pid: number): Map<string, number> {
  const lines = read(`/proc/${pid}/status`)?.matchAll(/^(\w+):\s+(\d+) kB$/gm) ?? []
  return new Map([...lines].map(([, name = '', kilobytes]) => [name, Number(kilobytes) * 1024]))
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // the process has ended
    return undefined
  }
}

function sum<T>(list: readonly T[], of: (one: T) => number): number {
  return list.reduce((total, one) => total + of(one), 0)
}

/** Memory of running processes, from /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** Samples a figure until it is disposed of, and keeps the largest. */
export class Peak implements Disposable {
  #bytes = 0
  readonly #measure: () => number
  readonly #timer: NodeJS.Timeout

  constructor(measure: () => number) {
    this.#measure = measure
    this.#timer = setInterval(() => this.#take(), 100)
    this.#take()
  }

  #take() {
    this.#bytes = Math.max(this.#bytes, this.#measure())
  }

  get megabytes(): number {
    return Math.round(this.#bytes / 1e6)
  }

  [Symbol.dispose]() {
    clearInterval(this.#timer)
  }
}

/** The most that one process has held so far, kept by the kernel, in bytes. */
export function highWaterMark(pid: number): number {
  return status(pid).get('VmHWM') ?? 0
}

/** What a process and all its descendants hold now; pages they share are counted for each. */
export function residentOfTree(pid: number): number {
  return sum(tree(pid), (one) => status(one).get('VmRSS') ?? 0)
}

/** What a Postgres server holds now: private memory of its processes, and its shared buffers once. */
export function residentOfPostgres(pid: number): number {
  const processes = tree(pid).map(status)
  const shared = Math.max(0, ...processes.map((one) => one.get('RssShmem') ?? 0))
  return sum(processes, (one) => one.get('RssAnon') ?? 0) + shared
}

function tree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    const parent = parentOf(pid)
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const found = [root]
  for (const pid of found) found.push(...(children.get(pid) ?? []))
  return found
}

function parentOf(pid: number): number | undefined {
  const stat = read(`/proc/${pid}/stat`)
  // the command's name, in parentheses, may hold anything
  const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
  return parent === undefined ? undefined : Number(parent)
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

/** Figures as a person reads them, and as a file. */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

export function median(numbers: readonly number[]): number {
  return percentile(numbers, 0.5)
}

/** The value below which this share of the numbers lies; between two neighbours, in proportion. */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const place = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(place)] ?? Number.NaN, sorted[Math.ceil(place)] ?? Number.NaN]
  return below + (above - below) * (place % 1)
}

/** Columns of text, the first to the left and the others to the right. */
export function printTable(head: string[], rows: string[][]): void {
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)))
  for (const row of [head, widths.map((width) => '-'.repeat(width)), ...rows]) {
    const cells = row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`)
  }
}

export function machine(): Record<string, string | number> {
  return {
    processors: cpus().length,
    model: cpus()[0]?.model ?? '',
    memory_gb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
  }
}

/** Writes `bench/out/<name>.json` and says where it is. */
export async function saveResult(here: string, name: string, result: object): Promise<void> {
  const folder = join(here, 'out')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
  process.stdout.write(`\nall figures: bench/out/${name}.json\n`)
}

export function range([least, most]: [number, number]): string {
  return `${least.toFixed(2)}-${most.toFixed(2)}`
}

/** Each round begins with another. */
export function rotated<T>(list: readonly T[], by: number): T[] {
  const at = by % Math.max(1, list.length)
  return [...list.slice(at), ...list.slice(0, at)]
}

export function thousands(count: number): string {
  return count.toLocaleString('en-US')
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Several readers of one pipeline, read in turns: of its sources, or of parts of one. A range is of one of them. */
import type { Position } from '../store/store.ts'
import type { Lag, Limits, Range, SourceReader } from './source.ts'

export function severalReaders(readers: readonly SourceReader[]): SourceReader {
  const [only] = readers
  if (only !== undefined && readers.length === 1) return only
  let turn = 0
  return {
    async next(limits: Limits): Promise<Range | undefined> {
      for (let tried = 0; tried < readers.length; tried++) {
        const reader = readers[turn++ % readers.length]
        const range = await reader?.next(limits)
        if (range !== undefined) return range
      }
      return undefined
    },
    lags(): Map<string, readonly Lag[]> {
      const all = new Map<string, Lag[]>()
      for (const [source, lags] of readers.flatMap((reader) => [...reader.lags()])) {
        const known = all.get(source) ?? []
        for (const { partition, rows } of lags) {
          const same = known.find((lag) => lag.partition === partition)
          if (same === undefined) known.push({ partition, rows })
          else same.rows += rows
        }
        all.set(source, known)
      }
      return all
    },
    async bytesAhead() {
      const ahead = await Promise.all(readers.map(async (reader) => (await reader.bytesAhead?.()) ?? 0))
      return ahead.reduce((sum, bytes) => sum + bytes, 0)
    },
    get unsettled() {
      return readers.some((reader) => reader.unsettled)
    },
    async wait(signal: AbortSignal) {
      const arrived = new AbortController()
      const either = AbortSignal.any([signal, arrived.signal])
      await Promise.race(readers.map((reader) => reader.wait(either)))
      arrived.abort()
    },
    async settled(positions: readonly Position[]) {
      await Promise.all(readers.map((reader) => reader.settled?.(positions)))
    },
    async rewind() {
      for (const reader of readers) await reader.rewind()
    },
    async [Symbol.asyncDispose]() {
      for (const reader of readers) await reader[Symbol.asyncDispose]()
    },
  }
}

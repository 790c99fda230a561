/** What is kept of open windows, in memory: what a batch changes is read first, and put in place when it is committed. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { printCsv, type Row, readRows } from '../csv-rows.ts'
import { type CsvRows, numberColumns, type StateChange, type StoredState, setColumns } from '../store.ts'
import type { StoredPipeline } from './database.ts'

/** What a batch changes, ready to be put in place in one go. */
export async function readStateChange(change: StateChange | undefined): Promise<(pipeline: StoredPipeline) => void> {
  if (change === undefined) return () => {}
  const rowsOf = async (file: CsvRows | undefined): Promise<Row[]> => (file === undefined ? [] : await readRows(file))
  const [numbers, sets, gone] = [await rowsOf(change.numbers), await rowsOf(change.sets), await rowsOf(change.gone)]
  return (pipeline) => {
    for (const row of numbers) pipeline.paneNumbers.set(paneOf(row), row)
    pipeline.paneSets.push(...sets)
    for (const row of gone) pipeline.paneNumbers.delete(paneOf(row))
    const isNeeded = ({ step, pane }: Row): boolean =>
      !change.closed.some((closed) => closed.step === step && BigInt(pane ?? 0) < BigInt(closed.before))
    for (const [at, row] of pipeline.paneNumbers) if (!isNeeded(row) || change.forget) pipeline.paneNumbers.delete(at)
    pipeline.paneSets = change.forget ? [] : pipeline.paneSets.filter(isNeeded)
  }
}

export async function writeState(pipeline: StoredPipeline, folder: string): Promise<StoredState> {
  const write = async (name: string, columns: readonly string[], rows: Row[]): Promise<StoredState['sets']> => {
    const path = join(folder, `state-${name}.csv`)
    await writeFile(path, printCsv(rows.map((row) => columns.map((column) => row[column] ?? null))))
    return { path, rows: rows.length }
  }
  return {
    numbers: await write('numbers', numberColumns, [...pipeline.paneNumbers.values()]),
    sets: await write('sets', setColumns, pipeline.paneSets),
  }
}

function paneOf({ step, key, pane }: Row): string {
  return JSON.stringify([step, key, pane])
}

/** A pipeline of windows for the crash tests, as a user's module, and the files it is given. */
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  count,
  countDistinct,
  deviation,
  files,
  integer,
  mean,
  pipeline,
  sum,
  table,
  text,
  timestamp,
  top,
} from '../../src/index.ts'
import type { Plan } from '../../src/plan/plan.ts'
import type { ArrivedRow } from '../reference-windows.ts'
import type { InputFile } from './events.ts'
import type { World } from './world.ts'

const columns = ['at', 'who', 'amount', 'note']

/** The same pipeline as the module below. */
export function windowedPlan(folder: string): Plan {
  return pipeline('windowed')
    .from(
      files(folder, {
        format: 'csv',
        columns: { at: timestamp(), who: text().notEmpty(), amount: integer(), note: text().optional() },
        eventTime: { column: 'at', outOfOrder: '15 seconds' },
      }),
    )
    .window({ size: '10 seconds', slide: '5 seconds', by: 'who', emit: 'close' }, (row) => ({
      n: count(),
      total: sum(row.amount),
      spread: deviation(row.amount),
      average: mean(row.amount),
      notes: countDistinct(row.note),
      best: top(2, row.note),
    }))
    .into(table('windowed'))
    .anomalies({ of: { average: { spike: 'up', drop: 'down' } }, by: 'who', over: 2, threshold: 1 })
    .into(table('windowed_moments')).plan
}

/** Writes the pipeline as a module that `millrace work` and `millrace run` take, and answers its path. */
export async function windowedModule(world: World): Promise<string> {
  const path = join(dirname(world.data), 'windowed.mjs')
  await writeFile(path, `export default ${JSON.stringify({ plan: windowedPlan(world.raw) })}`)
  return path
}

/** Files of rows in an order that is never out by more than the seconds that are allowed, some of them bad. */
function wave(from: number, to: number): InputFile[] {
  return Array.from({ length: to - from }, (_, i): InputFile => {
    const n = from + i
    const rows = Array.from({ length: 8 }, (_, row) => {
      const seconds = 20 * n + ((row * 7) % 13)
      const at = new Date(Date.UTC(2026, 0, 1) + seconds * 1000 + row).toISOString()
      const amount = row === 5 && n % 3 === 0 ? 'bad' : String((n * 31 + row * 17) % 23)
      return [at, row % 3 === 0 ? 'Ä' : 'b', amount, ['x', 'y', '', 'z "q"'][(n + row) % 4] ?? '']
    })
    return { name: `w-${String(n).padStart(3, '0')}.csv`, header: columns, rows }
  })
}

export const firstWindows = wave(0, 4)
export const secondWindows = wave(4, 8)

/** The rows of files as the reference takes them. */
export function arrivedRows(given: InputFile[]): ArrivedRow[] {
  return given.flatMap(({ name, header, rows }) =>
    rows.map((row, i) => {
      const fields = Object.fromEntries(header.map((column, at) => [column, row[at] === '' ? null : (row[at] ?? null)]))
      return { source: 'files', partition: '', place: name, line: i + 2, batch: 1, fields }
    }),
  )
}

/** Sample data as Parquet: made as CSV beside it, and converted whole. */
import { rename, rm, stat, utimes } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Duck } from '../engine/duckdb.ts'
import { duckdbType } from '../functions/print.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { columnsRead, type Plan } from '../plan/plan.ts'

/** The path to which a generator writes what is to be Parquet. */
export function csvBeside(path: string): string {
  return join(dirname(resolve(path)), `.${basename(path)}.${process.pid}.csv`)
}

/**
 * A column has the type it has in the plan, where all of its texts are of that type; else it is text, and what is wrong
 * with it is still there.
 */
export async function convertToParquet(csv: string, path: string, plan: Plan): Promise<void> {
  const folder = dirname(csv)
  const temporary = `${csv}.duckdb`
  const written = `${csv}.parquet`
  try {
    await using duck = await Duck.open({ folders: [folder], temporary, memoryLimitMb: 1024, threads: 2 })
    using session = await duck.connect()
    const rows = `read_csv(${sqlText(csv)}, header = true, all_varchar = true, quote = '"', escape = '"', nullstr = '')`
    const described = await session.rows<{ column_name: string }>(`describe select * from ${rows}`)
    const known = Object.values(plan.sources).flatMap(columnsRead)
    const columns = described.map(({ column_name: name }) => {
      const type = known.find((column) => column.name === name)?.type
      return { name: identifier(name), type: type === undefined || type.is === 'list' ? 'varchar' : duckdbType(type) }
    })
    const wrong = columns.map(
      ({ name, type }) =>
        `count(*) filter (where ${name} is not null and try_cast(${name} as ${type}) is null)::integer as ${name}`,
    )
    const [found = {}] = await session.rows<Record<string, number>>(`select ${wrong.join(', ')} from ${rows}`)
    const selects = columns.map(({ name, type }, i) => {
      const isWrong = (found[described[i]?.column_name ?? ''] ?? 0) > 0
      return `${name}::${isWrong ? 'varchar' : type} as ${name}`
    })
    await session.run(
      `copy (select ${selects.join(', ')} from ${rows}) to ${sqlText(written)} (format parquet, compression zstd)`,
    )
    const { atime, mtime } = await stat(csv)
    await utimes(written, atime, mtime)
    await rename(written, path)
  } finally {
    for (const left of [csv, written, temporary]) await rm(left, { recursive: true, force: true })
  }
}

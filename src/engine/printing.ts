/** Rows leave DuckDB as CSV that Postgres `COPY` reads: few of them as texts, all at once, with what is counted; more in files. */
import { join } from 'node:path'
import { sqlText } from '../plan/identifier.ts'
import { removeFile } from '../remove-file.ts'
import { printCsv } from '../store/csv-rows.ts'
import type { CsvRows } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'

export interface Asked {
  /** Of the file, where it comes to one. */
  name: string
  select: string
  columns: readonly string[]
  /** Texts, that empty is not null. */
  quoted: readonly string[]
}

export interface Printed extends CsvRows {
  release(): Promise<void>
}

export interface PrintTools {
  session: DuckSession
  /** The folder for files. */
  spool: string
  /** There are likely few rows: a file is made only where there are more. */
  few: boolean
}

/** No more than these are printed as texts, which lie beside what DuckDB may hold. */
const most = { rows: 10_000, bytes: 16_000_000 }

/** What a batch prints. Questions and files take their time, however few the rows: so all that is asked is printed at once. */
export class Printing {
  readonly #tools: PrintTools
  readonly #asked: { asked: Asked; printed: Printed }[] = []

  constructor(tools: PrintTools) {
    this.#tools = tools
  }

  /** The rows of a select, which are there once all that was asked is printed. */
  add(asked: Asked): Printed {
    const printed: Printed = { csv: { text: '' }, columns: [...asked.columns], rows: 0, release: async () => {} }
    this.#asked.push({ asked, printed })
    return printed
  }

  /** Prints it, and answers how many rows these relations have. */
  async print(relations: readonly string[] = []): Promise<number[]> {
    const all = this.#asked.splice(0)
    const counts = this.#tools.few ? await this.#printTexts(all, relations) : undefined
    if (counts !== undefined) return counts
    for (const { asked, printed } of all) await this.#printFile(asked, printed)
    return await countRows(this.#tools.session, relations)
  }

  // Answers nothing where they are too many, and nothing is printed.
  async #printTexts(
    all: readonly { asked: Asked; printed: Printed }[],
    relations: readonly string[],
  ): Promise<number[] | undefined> {
    if (all.length === 0) return await countRows(this.#tools.session, relations)
    const width = Math.max(...all.map(({ asked }) => asked.columns.length))
    const selects = [
      ...relations.map((relation, i) => `select ${rowSql(i, ['count(*)'], width)}\nfrom ${relation}`),
      ...all.map(({ asked }, i) => `select ${textsOf(asked, relations.length + i, width)}`),
    ]
    const found = await this.#tools.session.fewValues<[bytes: number, i: number, ...texts: (string | null)[]]>(
      `select *\nfrom (\n${selects.join('\nunion all\n')}\n)\nlimit ${most.rows + 1}`,
      most,
    )
    if (found === undefined) return undefined
    const rows = selects.map((): (string | null)[][] => [])
    for (const [, i, ...texts] of found) rows[i]?.push(texts.map((text) => (text === null ? null : text.slice(1))))
    for (const [i, { printed }] of all.entries()) {
      const own = rows[relations.length + i] ?? []
      printed.csv = { text: printCsv(own.map((texts) => texts.slice(0, printed.columns.length))) }
      printed.rows = own.length
    }
    return relations.map((_, i) => Number(rows[i]?.[0]?.[0] ?? 0))
  }

  async #printFile({ name, select, quoted }: Asked, printed: Printed): Promise<void> {
    const { session, spool } = this.#tools
    const path = join(spool, `${name}.csv`)
    printed.csv = { path }
    printed.release = () => removeFile(path)
    // as texts: DuckDB takes a name such as "user" here for the function
    const force = quoted.length === 0 ? '' : `, force_quote (${quoted.map(sqlText).join(', ')})`
    printed.rows = await session.run(
      `copy (\n${select}\n) to ${sqlText(path)} (format csv, header false, delimiter ',', quote '"', escape '"', nullstr ''${force})`,
    )
  }
}

/** Prints one select. */
export async function printRows(tools: PrintTools, asked: Asked): Promise<Printed> {
  const printing = new Printing(tools)
  const printed = printing.add(asked)
  await printing.print()
  return printed
}

function textsOf({ select, columns }: Asked, i: number, width: number): string {
  const names = columns.map((_, at) => `c${at}`)
  return `${rowSql(i, names, width)}\nfrom (\n${select}\n) t(${names.join(', ')})`
}

// The bytes of a row, whose it is, and its values as texts and nulls up to a width. Each text is behind a sign: of one that begins
// with U+FEFF, DuckDB's binding would leave that out.
function rowSql(i: number, values: string[], width: number): string {
  const bytes = values.map((value) => `coalesce(strlen(${value}::varchar), 0)`).join(' + ')
  const texts = values.map((value) => `'=' || ${value}::varchar`)
  return [`(${bytes})::integer`, i, ...texts, ...Array<string>(width - texts.length).fill('null')].join(', ')
}

/** How many rows each of these relations has: all in one question, for each takes its time. */
export async function countRows(session: DuckSession, relations: readonly string[]): Promise<number[]> {
  if (relations.length === 0) return []
  const selects = relations.map((relation, i) => `select ${i} as i, count(*)::double as rows from ${relation}`)
  const found = await session.values<[number, number]>(selects.join('\nunion all\n'))
  const counts = new Map(found)
  return relations.map((_, i) => counts.get(i) ?? 0)
}

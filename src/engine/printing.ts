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
const most = { rows: 10_000, characters: 16_000_000 }

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
    const selects = [
      ...relations.map((relation, i) => `select ${i} as i, count(*)::varchar as text from ${relation}`),
      ...all.map(({ asked }, i) => `select ${relations.length + i} as i, ${textSql(asked)}`),
    ]
    const found = await this.#tools.session.texts(`${selects.join('\nunion all\n')}\nlimit ${most.rows + 1}`, most)
    if (found === undefined) return undefined
    const texts = selects.map((): string[] => [])
    for (const [i, text] of found) texts[i]?.push(text)
    for (const [i, { printed }] of all.entries()) {
      const own = texts[relations.length + i] ?? []
      // as: each is a list of texts and nulls
      printed.csv = { text: printCsv(own.map((text) => JSON.parse(text) as (string | null)[])) }
      printed.rows = own.length
    }
    return relations.map((_, i) => Number(texts[i]?.[0] ?? 0))
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

// A row as one text, a list in JSON: DuckDB makes room for 2,048 values of each column at each step, however few there are.
function textSql({ select, columns }: Asked): string {
  const names = columns.map((_, at) => `c${at}`)
  return `to_json([${names.map((name) => `${name}::varchar`).join(', ')}])::varchar as text
from (
${select}
) t(${names.join(', ')})`
}

/** How many rows each of these relations has: all in one question, for each takes its time. */
export async function countRows(session: DuckSession, relations: readonly string[]): Promise<number[]> {
  if (relations.length === 0) return []
  const selects = relations.map((relation, i) => `select ${i} as i, count(*)::double as rows from ${relation}`)
  const found = await session.values<[number, number]>(selects.join('\nunion all\n'))
  const counts = new Map(found)
  return relations.map((_, i) => counts.get(i) ?? 0)
}

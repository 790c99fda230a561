import { number } from '../format.ts'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import type { Results } from '../types.ts'
import { isTimeColumn, numberOf } from './chart-data.ts'

const rowsShown = 500

export function ResultsTable({ results, title }: { results: Results; title: string }) {
  const { columns, rows } = results
  const kinds = columns.map(({ name, type }) =>
    isTimeColumn(results, name) ? 'time' : isNumber(type) ? 'number' : 'text',
  )
  return (
    <Scroller class="table-box results-table" label={`${title} as a table`}>
      <table>
        <thead>
          <tr>
            {columns.map(({ name }, index) => (
              <th key={name} scope="col" class={kinds[index] === 'number' ? 'number' : undefined}>
                {onOneLine(name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, rowsShown).map((row, index) => (
            <tr key={index}>
              {columns.map(({ name }, column) => (
                <td key={name} class={kinds[column] === 'text' ? undefined : kinds[column]}>
                  {shown(row[name], kinds[column])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > rowsShown && (
        <p class="quiet results-more">{number(rows.length - rowsShown)} more rows are in the downloads.</p>
      )}
    </Scroller>
  )
}

function shown(value: unknown, kind: string | undefined): string {
  if (value === null || value === undefined) return ''
  if (kind === 'time')
    return onOneLine(String(value))
      .replace('T', ' ')
      .replace(/(\.\d+)?Z$/, '')
  if (kind === 'number') {
    const known = numberOf(value)
    return known === null ? onOneLine(String(value)) : number(known)
  }
  return onOneLine(typeof value === 'object' ? JSON.stringify(value) : String(value))
}

function isNumber(type: string): boolean {
  return /^(u?(tiny|small|big|huge)?int|integer|number|numeric|decimal|double|float|real)/i.test(type)
}

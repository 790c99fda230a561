import { number } from '../format.ts'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import { viewHref } from '../route.ts'
import type { Lead, Results } from '../types.ts'
import { isTimeColumn, numberOf } from './chart-data.ts'

const rowsShown = 500

interface ResultsTableProps {
  results: Results
  title: string
  /** Where the values of one of its columns lead. */
  lead?: (Lead & { system: string }) | undefined
}

export function ResultsTable({ results, title, lead }: ResultsTableProps) {
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
                <td key={name} class={classOf(row[name], kinds[column])}>
                  {lead?.column === name ? (
                    <a href={hrefOf(lead, row)}>{shown(row[name], 'text')}</a>
                  ) : (
                    shown(row[name], kinds[column])
                  )}
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

const longText = 60

function classOf(value: unknown, kind: string | undefined): string | undefined {
  if (kind !== 'text') return kind
  return typeof value === 'string' && value.length > longText ? 'long' : undefined
}

function hrefOf({ system, to, with: told }: Lead & { system: string }, row: Record<string, unknown>): string {
  const values = Object.entries(told).map(([name, column]) => [name, String(row[column] ?? '')])
  return viewHref(system, to, Object.fromEntries(values))
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

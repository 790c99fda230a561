/** The books: what came in is what became of it, to the row. Beside them, how far each source has been read. */

import { useNow } from '../cell.ts'
import { clockTime, number } from '../format.ts'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import { deadLettersHref } from '../route.ts'
import type { Books, PipelineDetails } from '../types.ts'

const verdicts = ['written', 'filtered', 'duplicates', 'late', 'dead'] as const

const meanings: Record<(typeof verdicts)[number], string> = {
  written: 'reached a sink, or was taken into state',
  filtered: 'left out by a filter',
  duplicates: 'its key was there already',
  late: 'all its windows were closed',
  dead: 'broke a rule and is a dead letter',
}

export function BooksSection({ details }: { details: PipelineDetails }) {
  return (
    <div class="books-section">
      <section class="card books">
        <h2>Books</h2>
        {details.books === null ? (
          <p class="quiet">Nothing has been read yet.</p>
        ) : (
          <BooksTable books={details.books} pipeline={details.pipeline} />
        )}
      </section>
      <section class="card books">
        <h2>Positions</h2>
        <Positions details={details} />
      </section>
    </div>
  )
}

function BooksTable({ books, pipeline }: { books: Books; pipeline: string }) {
  const sum = verdicts.reduce((total, verdict) => total + books[verdict], 0)
  const balance = books.rows_in === sum
  return (
    <>
      <p class={balance ? 'balance' : 'balance balance-off'}>
        {balance
          ? `They balance: each of ${number(books.rows_in)} rows has exactly one verdict.`
          : `They do not balance: ${number(books.rows_in)} rows came in and ${number(sum)} have a verdict. Please report this.`}
      </p>
      <div class="books-bar" aria-hidden="true">
        {verdicts.map(
          (verdict) =>
            books[verdict] > 0 && (
              <span key={verdict} class={`verdict-${verdict}`} style={{ flexGrow: String(books[verdict]) }} />
            ),
        )}
      </div>
      <table class="books-table">
        <tbody>
          {verdicts.map((verdict) => (
            <tr key={verdict}>
              <td>
                <span class={`key verdict-${verdict}`} aria-hidden="true" /> {verdict}
              </td>
              <td class="number">
                {verdict === 'dead' && books.dead > 0 ? (
                  <a href={deadLettersHref({ pipeline, settled: 'true' })}>{number(books.dead)}</a>
                ) : (
                  number(books[verdict])
                )}
              </td>
              <td class="number quiet">{share(books[verdict], books.rows_in)}</td>
              <td class="quiet books-meaning">{meanings[verdict]}</td>
            </tr>
          ))}
          <tr class="sum">
            <td>rows in</td>
            <td class="number">{number(books.rows_in)}</td>
            <td />
            <td class="books-meaning" />
          </tr>
        </tbody>
      </table>
    </>
  )
}

function Positions({ details }: { details: PipelineDetails }) {
  const now = useNow()
  return (
    <>
      {details.positions.length === 0 ? (
        <p class="quiet">No position is stored yet: the first batch stores it.</p>
      ) : (
        <Scroller class="table-box" label="Positions">
          <table>
            <thead>
              <tr>
                <th>Source</th>
                <th>Partition</th>
                <th>Position</th>
                <th>Watermark</th>
              </tr>
            </thead>
            <tbody>
              {details.positions.map(({ source, partition, position, watermark }) => (
                <tr key={`${source} ${partition}`}>
                  <td class="mono">{source}</td>
                  <td class="mono wrap">{onOneLine(partition)}</td>
                  <td class="mono wrap">{positionText(position)}</td>
                  <td>{watermark === null ? <span class="quiet">none</span> : clockTime(watermark, now)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroller>
      )}
      <dl class="pairs">
        <dt>Owner</dt>
        <dd class="mono wrap">{details.owner ?? 'nobody'}</dd>
        {details.lent_by !== null && (
          <>
            <dt>Lent by</dt>
            <dd class="mono wrap">{details.lent_by}</dd>
          </>
        )}
        <dt>Epoch</dt>
        <dd>{details.epoch ?? 'none yet'}</dd>
        <dt>Rows in state</dt>
        <dd>{number(details.state_rows)}</dd>
        <dt>Commits tried again</dt>
        <dd>{number(details.retries)}</dd>
        <dt>Reads from</dt>
        <dd class="mono wrap">{details.folders.map(onOneLine).join(', ')}</dd>
        <dt>Archiver</dt>
        <dd>{details.archiver === null ? 'none' : details.archiver.is}</dd>
      </dl>
    </>
  )
}

function positionText(position: unknown): string {
  if (typeof position !== 'object' || position === null) return String(position)
  return Object.entries(position)
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(', ')
}

function share(rows: number, of: number): string {
  if (of === 0) return ''
  const percent = (rows / of) * 100
  return rows === 0 ? '0 %' : percent < 0.01 ? '< 0.01 %' : `${percent.toFixed(2)} %`
}

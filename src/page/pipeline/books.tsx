/** The books: what came in is what became of it, to the row. Beside them, who works on it. */

import { number } from '../format.ts'
import { onOneLine } from '../parts/text-parts.ts'
import { deadLettersHref, pipelineHref } from '../route.ts'
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
        <h2>Who works on it</h2>
        <Owner details={details} />
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
                ) : verdict === 'late' && books.late > 0 ? (
                  <a href={pipelineHref(pipeline, 'late')}>{number(books.late)}</a>
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

function Owner({ details }: { details: PipelineDetails }) {
  return (
    <dl class="pairs">
      <dt>Owner</dt>
      <dd class="mono wrap">{details.owner ?? 'nobody'}</dd>
      {details.doing !== null && (
        <>
          <dt>Doing</dt>
          <dd>{details.doing}</dd>
        </>
      )}
      {details.lent_by !== null && (
        <>
          <dt>Lent by</dt>
          <dd class="mono wrap">{details.lent_by}</dd>
        </>
      )}
      <dt>Epoch</dt>
      <dd>{details.epoch ?? 'none yet'}</dd>
      <dt>Commits tried again</dt>
      <dd>{number(details.retries)}</dd>
      {details.folders.length > 0 && (
        <>
          <dt>Reads from</dt>
          <dd class="mono wrap">{details.folders.map(onOneLine).join(', ')}</dd>
        </>
      )}
      <dt>Archiver</dt>
      <dd>{details.archiver === null ? 'none' : details.archiver.is}</dd>
    </dl>
  )
}

function share(rows: number, of: number): string {
  if (of === 0) return ''
  const percent = (rows / of) * 100
  return rows === 0 ? '0 %' : percent < 0.01 ? '< 0.01 %' : `${percent.toFixed(2)} %`
}

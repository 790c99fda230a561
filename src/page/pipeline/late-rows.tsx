/** Rows that came when all their windows were closed: how late, for which window, and what they said. */
import { useState } from 'preact/hooks'
import type { Problem } from '../api.ts'
import { useNow } from '../cell.ts'
import { ago, counted, dayAndTime, duration, number } from '../format.ts'
import { Downloads } from '../parts/downloads.tsx'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import { RawText } from '../parts/raw-text.tsx'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import { pipelineHref } from '../route.ts'
import type { LateRow, Pipeline } from '../types.ts'
import { usePages } from './pages.ts'

export function LateRows({ pipeline }: { pipeline: Pipeline }) {
  const { pipeline: name, late_rows: kept } = pipeline
  const path = `/api/pipelines/${encodeURIComponent(name)}/late-rows`
  const { all, next, problem, readMore, reload } = usePages<LateRow>(path, 'late_rows')
  const [open, setOpen] = useState<number>()
  const [failure, setFailure] = useState<Problem>()
  if (problem !== undefined && all.length === 0) return <ProblemNotice problem={problem} again={reload} />
  if (next === undefined) return <Loading what="the late rows" />
  if (all.length === 0) return <NoLateRows pipeline={pipeline} />
  const unread = kept - all.length
  return (
    <section aria-label="Late rows">
      <h2 class="unseen">Late rows</h2>
      <div class="batches-bar">
        <p class="quiet">
          All their windows were closed when they came: the watermark was so far past them. Newest first.
        </p>
        <span class="late-take">
          <span class="quiet">Take them as</span>
          <Downloads path={path} name={`${name}-late-rows`} what="late rows" failed={setFailure} />
        </span>
        <button type="button" class="button button-small" onClick={reload}>
          Read again
        </button>
      </div>
      {failure !== undefined && <ProblemNotice problem={failure} />}
      <Scroller class="card table-box" label="Table of late rows">
        <table class="late">
          <thead>
            <tr>
              <th>Late by</th>
              <th>Event time</th>
              <th class="late-wide">Window from</th>
              <th class="late-wide">Step</th>
              <th class="late-wide">Where from</th>
              <th class="late-wide number">Batch</th>
            </tr>
          </thead>
          <tbody>
            {all.map((row) => (
              <LateRowRows
                key={row.id}
                row={row}
                isOpen={open === row.id}
                toggle={() => setOpen(open === row.id ? undefined : row.id)}
              />
            ))}
          </tbody>
        </table>
      </Scroller>
      {problem !== undefined && <ProblemNotice problem={problem} again={reload} />}
      {next !== null && (
        <button type="button" class="button more" onClick={readMore}>
          {unread > 0 ? `Older late rows, ${number(unread)} more` : 'Older late rows'}
        </button>
      )}
    </section>
  )
}

function NoLateRows({ pipeline: { pipeline, books, event_time: hasTime } }: { pipeline: Pipeline }) {
  const dropped = books?.late ?? 0
  return (
    <Empty title="No late row">
      {hasTime ? (
        <p>
          A row is late when the watermark has passed the end of every window it belongs to: those are closed, and it
          changes none of them. It is kept here, with how late it was. With a larger <code>outOfOrder</code> windows
          wait longer.
        </p>
      ) : (
        <p>
          A row is late when all its windows were closed by event time. No source of this pipeline says when its events
          happened, so no row can be.
        </p>
      )}
      {dropped > 0 && <p>{counted(dropped, 'row')} came late and went into the books, but were not kept.</p>}
      <p>
        <a href={pipelineHref(pipeline, 'time')}>How far event time is</a>
      </p>
    </Empty>
  )
}

function LateRowRows({ row, isOpen, toggle }: { row: LateRow; isOpen: boolean; toggle(): void }) {
  const now = useNow()
  const { step, place, event_time: at, window_start: from, late_by_ms: lateMs, raw, raw_cut: cut, batch } = row
  const begins =
    from === null ? (
      <span class="quiet">none</span>
    ) : (
      <time class="moment" dateTime={from}>
        {dayAndTime(from)}
      </time>
    )
  return (
    <>
      <tr class={isOpen ? 'batch-row is-open' : 'batch-row'}>
        <td>
          <button type="button" class="fold" aria-expanded={isOpen} onClick={toggle}>
            <span class="fold-sign" aria-hidden="true" />
            {duration(lateMs)}
          </button>
        </td>
        <td>
          <time class="moment" dateTime={at}>
            {dayAndTime(at)}
          </time>
        </td>
        <td class="late-wide">{begins}</td>
        <td class="late-wide mono">{onOneLine(step)}</td>
        <td class="late-wide mono wrap late-place">{onOneLine(place)}</td>
        <td class="late-wide number">{number(batch)}</td>
      </tr>
      {isOpen && (
        <tr class="batch-open">
          <td colSpan={6}>
            <dl class="pairs late-more">
              <dt>Window from</dt>
              <dd>{begins}</dd>
              <dt>Step</dt>
              <dd class="mono">{onOneLine(step)}</dd>
              <dt>Where from</dt>
              <dd class="mono wrap">{onOneLine(place)}</dd>
              <dt>Batch</dt>
              <dd>{number(batch)}</dd>
            </dl>
            <h3>The row as it was read, {ago(row.arrived_at, now)}</h3>
            <RawText text={raw} fault={null} line={null} />
            {cut && <p class="quiet">It is longer: this is its beginning. The whole of it is in millrace.late_rows.</p>}
          </td>
        </tr>
      )}
    </>
  )
}

/** The batches one below the other, newest first: how long each took, in which phase, and what it held. */

import { Fragment } from 'preact'
import { useState } from 'preact/hooks'
import { useCell, useNow } from '../cell.ts'
import { clockTime, counted, duration, number } from '../format.ts'
import { type BatchEvent, batches } from '../live.ts'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import { Scroller } from '../parts/scroller.tsx'
import { deadLettersHref } from '../route.ts'
import type { Batch } from '../types.ts'
import { usePages } from './pages.ts'

/** In the order in which they happen. */
export const phases: [name: string, says: string][] = [
  ['list', 'finding files'],
  ['cut', 'cutting rows out of bytes'],
  ['read', 'reading them into DuckDB'],
  ['operate', 'the steps'],
  ['keys', 'asking which keys are known'],
  ['print', 'printing rows for Postgres'],
  ['letters', 'dead letters'],
  ['books', 'the ledger'],
  ['wait', 'waiting for its turn'],
  ['land', 'landing in Postgres'],
]

export function Batches({ pipeline }: { pipeline: string }) {
  const read = usePages<Batch>(`/api/pipelines/${encodeURIComponent(pipeline)}/batches`, 'batches')
  const live = useCell(batches)[pipeline] ?? []
  const [held, hold] = useState<BatchEvent[] | undefined>(undefined)
  const [open, setOpen] = useState<number>()
  const shown = merged(held ?? live, read.all)
  const longest = Math.max(1, ...shown.map((batch) => total(batch)))
  if (read.problem !== undefined && shown.length === 0)
    return <ProblemNotice problem={read.problem} again={read.reload} />
  if (read.next === undefined && shown.length === 0) return <Loading what="the batches" />
  if (shown.length === 0) {
    return (
      <Empty title="No batch yet">
        <p>The first one is made when rows arrive.</p>
      </Empty>
    )
  }
  return (
    <section aria-label="Batches">
      <h2 class="unseen">Batches</h2>
      <div class="batches-bar">
        <ul class="legend" aria-label="Phases">
          {phases.map(([name, says], index) => (
            <li key={name} title={says}>
              <span class={`key phase-${index + 1}`} aria-hidden="true" /> {name}
            </li>
          ))}
        </ul>
        <button
          type="button"
          class="button button-small"
          aria-pressed={held !== undefined}
          onClick={() => hold(held === undefined ? live : undefined)}
        >
          {held === undefined ? 'Hold still' : 'Follow again'}
        </button>
      </div>
      <div class="card table-box">
        <table class="batches">
          <thead>
            <tr>
              <th>Batch</th>
              <th class="batches-when">Committed</th>
              <th class="number">Rows</th>
              <th class="batches-wide">What was not written</th>
              <th class="number">Took</th>
              <th class="batches-bars">Phases</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((batch) => (
              <BatchRows
                key={batch.batch}
                batch={batch}
                pipeline={pipeline}
                longest={longest}
                isOpen={open === batch.batch}
                toggle={() => {
                  // what is being read should not move away
                  if (open !== batch.batch && held === undefined) hold(live)
                  setOpen(open === batch.batch ? undefined : batch.batch)
                }}
              />
            ))}
          </tbody>
        </table>
      </div>
      {read.problem !== undefined && <ProblemNotice problem={read.problem} again={read.reload} />}
      {read.next !== null && (
        <button type="button" class="button more" onClick={read.readMore}>
          Older batches
        </button>
      )}
    </section>
  )
}

interface BatchRowsProps {
  batch: Batch
  pipeline: string
  longest: number
  isOpen: boolean
  toggle(): void
}

function BatchRows({ batch, pipeline, longest, isOpen, toggle }: BatchRowsProps) {
  const now = useNow()
  const took = phasesOf(batch)
  return (
    <>
      <tr class={isOpen ? 'batch-row is-open' : 'batch-row'}>
        <td>
          <button type="button" class="fold" aria-expanded={isOpen} onClick={toggle}>
            <span class="fold-sign" aria-hidden="true" />
            {number(batch.batch)}
          </button>
          {batch.kind !== 'stream' && <span class="kind">{batch.kind}</span>}
        </td>
        <td class="batches-when">
          <time dateTime={batch.committed_at} title={batch.committed_at}>
            {clockTime(batch.committed_at, now)}
          </time>
        </td>
        <td class="number">{number(batch.rows_in)}</td>
        <td class="batches-wide quiet">{notWritten(batch, pipeline)}</td>
        <td class="number">{duration(total(batch))}</td>
        <td class="batches-bars">
          <span class="phase-bar" style={{ width: `${(total(batch) / longest) * 100}%` }} aria-hidden="true">
            {phases.map(([name], index) => {
              const ms = took[name] ?? 0
              return ms > 0 && <span key={name} class={`phase-${index + 1}`} style={{ flexGrow: String(ms) }} />
            })}
          </span>
        </td>
      </tr>
      {isOpen && (
        <tr class="batch-open">
          <td colSpan={6}>
            <BatchDetails batch={batch} pipeline={pipeline} />
          </td>
        </tr>
      )}
    </>
  )
}

function BatchDetails({ batch, pipeline }: { batch: Batch; pipeline: string }) {
  const all = total(batch)
  const took = phasesOf(batch)
  const known = phases.filter(([name]) => name in took)
  return (
    <div class="batch-details">
      <div>
        <h3>Phases</h3>
        <table>
          <tbody>
            {known.map(([name, says]) => (
              <tr key={name}>
                <td>
                  <span class={`key phase-${phases.findIndex(([each]) => each === name) + 1}`} aria-hidden="true" />{' '}
                  {name}
                </td>
                <td class="quiet">{says}</td>
                <td class="number">{duration(took[name] ?? 0)}</td>
                <td class="number quiet">{all === 0 ? '' : `${Math.round(((took[name] ?? 0) / all) * 100)} %`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div>
        <h3>Rows</h3>
        <dl class="pairs">
          {(['rows_in', 'written', 'filtered', 'duplicates', 'late', 'dead'] as const).map((name) => (
            <Fragment key={name}>
              <dt>{name === 'rows_in' ? 'in' : name}</dt>
              <dd class="number-left">
                {name === 'dead' && batch.dead > 0 ? (
                  <a href={deadLettersHref({ pipeline, batch: batch.batch })}>{number(batch.dead)}</a>
                ) : (
                  number(batch[name])
                )}
              </dd>
            </Fragment>
          ))}
          {Object.entries(batch.rows_out).map(([step, out]) => (
            <Fragment key={step}>
              <dt>out of {step}</dt>
              <dd>
                {Object.entries(out)
                  .filter(([, rows]) => rows > 0)
                  .map(([what, rows]) => `${number(rows)} ${what}`)
                  .join(', ') || 'nothing'}
              </dd>
            </Fragment>
          ))}
        </dl>
      </div>
      <div>
        <h3>Where from</h3>
        <dl class="pairs">
          <dt>Kind</dt>
          <dd>{batch.kind}</dd>
          <dt>Started</dt>
          <dd>{batch.started_at.replace('T', ' ').replace('Z', '')}</dd>
          <dt>Committed</dt>
          <dd>{batch.committed_at.replace('T', ' ').replace('Z', '')}</dd>
          <dt>Epoch</dt>
          <dd>{batch.epoch}</dd>
          {batch.files_quarantined > 0 && (
            <>
              <dt>Quarantined</dt>
              <dd>{counted(batch.files_quarantined, 'file')}</dd>
            </>
          )}
        </dl>
        <Scroller class="pre" label="Ranges">
          <pre>{JSON.stringify(batch.ranges, null, 1)}</pre>
        </Scroller>
      </div>
    </div>
  )
}

function notWritten(batch: Batch, pipeline: string) {
  const parts = (['filtered', 'duplicates', 'late'] as const)
    .filter((name) => batch[name] > 0)
    .map((name) => `${number(batch[name])} ${batch[name] === 1 && name === 'duplicates' ? 'duplicate' : name}`)
  return (
    <>
      {batch.dead > 0 && <a href={deadLettersHref({ pipeline, batch: batch.batch })}>{number(batch.dead)} dead</a>}
      {batch.dead > 0 && parts.length > 0 && ', '}
      {parts.join(', ')}
    </>
  )
}

function total({ started_at: started, committed_at: committed }: Batch): number {
  return Math.max(0, Date.parse(committed) - Date.parse(started))
}

// What no phase accounts for is waiting: the batch before was still landing.
function phasesOf(batch: Batch): Record<string, number> {
  const known = Object.values(batch.phases_ms).reduce((sum, each) => sum + each, 0)
  return { ...batch.phases_ms, wait: Math.max(0, total(batch) - known) }
}

function merged(newest: Batch[], read: Batch[]): Batch[] {
  const byNumber = new Map([...read, ...newest].map((batch) => [batch.batch, batch]))
  return [...byNumber.values()].sort((a, b) => b.batch - a.batch)
}

/** Rows as they land, some of each batch, and the batches they came in. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { useCell, useNow } from './cell.ts'
import { clockTime, counted, duration, number } from './format.ts'
import { batches, pipelines, watchRows } from './live.ts'
import { Heading } from './parts/heading.tsx'
import { Empty, Loading } from './parts/notice.tsx'
import { Scroller } from './parts/scroller.tsx'
import { onOneLine } from './parts/text-parts.ts'
import { deadLettersHref, hrefWith, pipelineHref, replaceRoute } from './route.ts'

interface Landed {
  /** Counts up, so that each row keeps its place in the page. */
  number: number
  step: string
  values: (string | null)[]
}

interface LandedTable {
  columns: string[]
  rows: Landed[]
}

const rowsKept = 200
const drawEveryMs = 250

export function LiveView({ query }: { query: URLSearchParams }) {
  const all = useCell(pipelines)
  const wanted = query.get('pipeline')
  // which one is fastest changes; what is looked at should not
  const first = useRef<string>(undefined)
  first.current ??= all === undefined ? undefined : fastest(all)?.pipeline
  if (all === undefined) return <Loading what="the pipelines" />
  const pipeline = all.find((each) => each.pipeline === wanted)?.pipeline ?? first.current
  if (pipeline === undefined) {
    return (
      <>
        <Heading title="Live" />
        <Empty title="Nothing runs">
          <p>When a pipeline runs, its rows pass by here.</p>
        </Empty>
      </>
    )
  }
  return <LiveRows key={pipeline} pipeline={pipeline} names={all.map((each) => each.pipeline)} />
}

function LiveRows({ pipeline, names }: { pipeline: string; names: string[] }) {
  const [held, hold] = useState(false)
  const tables = useLandedRows(pipeline, held)
  const [wanted, want] = useState<string>()
  const tableNames = Object.keys(tables)
  const name = tableNames.find((each) => each === wanted) ?? tableNames[0]
  const table = name === undefined ? undefined : tables[name]
  return (
    <>
      <Heading title="Live">
        <p class="heading-says">Some rows of each batch, as they land.</p>
      </Heading>
      <div class="live-bar">
        <label class="field">
          <span>Pipeline</span>
          <select
            value={pipeline}
            onChange={(event) => replaceRoute(hrefWith('#/live', { pipeline: event.currentTarget.value }))}
          >
            {names.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        {tableNames.length > 1 && (
          <label class="field">
            <span>Table</span>
            <select value={name} onChange={(event) => want(event.currentTarget.value)}>
              {tableNames.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
        <button type="button" class="button" aria-pressed={held} onClick={() => hold(!held)}>
          {held ? 'Go on' : 'Hold still'}
        </button>
        <span class="quiet live-says" role="status">
          {held ? 'Held: what lands meanwhile is not shown.' : table === undefined ? '' : `into ${name}`}
        </span>
      </div>
      <div class="live-panes">
        {table === undefined ? (
          <div class="card live-none">
            <Empty title="Waiting for rows">
              <p>Nothing has landed since this view was opened. Rows show up with the next batch of {pipeline}.</p>
            </Empty>
          </div>
        ) : (
          <Scroller class="card table-box live-rows" label={`Rows that land in ${name}`}>
            <table>
              <thead>
                <tr>
                  {table.columns.map((column) => (
                    <th key={column} scope="col">
                      {onOneLine(column)}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {table.rows.map((row) => (
                  <tr key={row.number} class="landed">
                    {row.values.map((value, index) => (
                      <td key={table.columns[index] ?? index}>
                        {value === null ? <span class="quiet">no value</span> : onOneLine(value)}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroller>
        )}
        <BatchFeed pipeline={pipeline} />
      </div>
    </>
  )
}

// Rows may come faster than anybody reads: they are gathered, and drawn a few times a second.
function useLandedRows(pipeline: string, held: boolean): Record<string, LandedTable> {
  const [shown, show] = useState<Record<string, LandedTable>>({})
  const gathered = useRef<Record<string, LandedTable>>({})
  const count = useRef(0)
  const isHeld = useRef(held)
  isHeld.current = held
  useEffect(() => {
    const stop = watchRows(pipeline, (event) => {
      if (event.pipeline !== pipeline || isHeld.current) return
      const before = gathered.current[event.table]?.rows ?? []
      const fresh = event.rows.map((values): Landed => ({ number: count.current++, step: event.step, values }))
      gathered.current = {
        ...gathered.current,
        [event.table]: { columns: event.columns, rows: [...fresh.reverse(), ...before].slice(0, rowsKept) },
      }
    })
    const timer = setInterval(() => show(gathered.current), drawEveryMs)
    return () => {
      stop()
      clearInterval(timer)
    }
  }, [pipeline])
  return shown
}

function BatchFeed({ pipeline }: { pipeline: string }) {
  const known = useCell(batches)[pipeline] ?? []
  const now = useNow()
  return (
    <section class="card feed" aria-label="Batches as they are committed">
      <h2>Batches</h2>
      {known.length === 0 ? (
        <p class="quiet">None since this page was opened.</p>
      ) : (
        <ol>
          {known.slice(0, 40).map((batch) => (
            <li key={batch.batch}>
              <a class="number" href={pipelineHref(pipeline, 'batches')}>
                {number(batch.batch)}
              </a>
              <span>{counted(batch.rows_in, 'row')}</span>
              <span>
                {batch.dead > 0 && (
                  <a href={deadLettersHref({ pipeline, batch: batch.batch })}>{number(batch.dead)} dead</a>
                )}
              </span>
              <span class="quiet number">
                {duration(Date.parse(batch.committed_at) - Date.parse(batch.started_at))}
              </span>
              <time class="quiet" dateTime={batch.committed_at}>
                {clockTime(batch.committed_at, now)}
              </time>
            </li>
          ))}
        </ol>
      )}
    </section>
  )
}

function fastest<T extends { rows_per_second: number }>(all: T[]): T | undefined {
  return [...all].sort((a, b) => b.rows_per_second - a.rows_per_second)[0]
}

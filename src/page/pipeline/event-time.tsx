/** How far event time has come, what is kept for windows that are open, and what waits in each partition. */
import { useNow } from '../cell.ts'
import { behind, bytes, clockTime, counted, dayAndTime, duration, number, sentence } from '../format.ts'
import { Advice } from '../parts/notice.tsx'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import { pipelineHref } from '../route.ts'
import type { PipelineDetails, Position, Source } from '../types.ts'

export function EventTime({ details }: { details: PipelineDetails }) {
  const { lag, late_rows: late, pipeline, state_rows: kept, state_bytes: size } = details
  return (
    <div class="time-section">
      <section class="card time-card" aria-labelledby="time-title">
        <h2 id="time-title">Event time</h2>
        <dl class="time-facts">
          <Watermark details={details} />
          <div class="fact">
            <dt class="fact-name">Late rows</dt>
            <dd class="fact-value">{number(late)}</dd>
            <dd class="fact-more">
              <a href={pipelineHref(pipeline, 'late')}>{late === 0 ? 'what is that?' : 'look at them'}</a>
            </dd>
          </div>
          <div class="fact">
            <dt class="fact-name">State</dt>
            <dd class="fact-value">{counted(kept, 'row')}</dd>
            <dd class="fact-more">{size > 0 ? `${bytes(size)} of open windows` : 'no window is open'}</dd>
          </div>
        </dl>
      </section>
      <section class="card time-card" aria-labelledby="lag-title">
        <h2 id="lag-title">Lag</h2>
        {lag.why !== null && <Advice tone="warn">{sentence(`How many rows wait is not known: ${lag.why}`)}</Advice>}
        <WaitingFiles details={details} />
        <Partitions details={details} />
      </section>
    </div>
  )
}

function Watermark({ details }: { details: PipelineDetails }) {
  const now = useNow()
  const { event_time: hasTime, watermark, watermark_closed: closed } = details
  const value = closed ? 'Closed: nothing will follow' : watermark === null ? 'none' : dayAndTime(watermark)
  return (
    <div class="fact">
      <dt class="fact-name">Watermark</dt>
      <dd class="fact-value moment time-watermark">{value}</dd>
      <dd class="fact-more">
        {closed
          ? 'A run with --final has closed every window: whatever comes now is late.'
          : watermark !== null
            ? `${behind(watermark, now)} ${Date.parse(watermark) > now ? 'of ' : ''}the clock`
            : hasTime
              ? 'no row has moved it yet'
              : 'no source says when its events happened'}
      </dd>
    </div>
  )
}

function WaitingFiles({ details: { folders, lag } }: { details: PipelineDetails }) {
  if (folders.length === 0) return null
  const { files_waiting: waiting, files_claimed: claimed, rows, rows_estimated: estimated, seconds } = lag
  if (waiting + claimed === 0) return <p>No file waits in {folders.map(onOneLine).join(', ')}.</p>
  const about = estimated && rows !== null ? `, about ${counted(rows, 'row')}` : ''
  const since = seconds === null || seconds === 0 ? '' : `; the oldest for ${duration(seconds * 1000)}`
  return (
    <p>
      {counted(waiting, 'file')} {waiting === 1 ? 'waits' : 'wait'}, {number(claimed)} in hand{about}
      {since}.
    </p>
  )
}

function Partitions({ details: { positions, source: sources, folders, lag } }: { details: PipelineDetails }) {
  if (positions.length === 0) {
    if (folders.length === sources.length || lag.why !== null) return null
    return <p class="quiet">There is no topic yet: whoever writes the first message makes it.</p>
  }
  const most = Math.max(1, ...positions.map(({ lag_rows: rows }) => rows ?? 0))
  const read = sources.filter(({ id }) => positions.some(({ source }) => source === id))
  return (
    <Scroller class="table-box" label="Partitions">
      <table class="partitions">
        <thead>
          <tr>
            <th scope="col">Partition</th>
            <th scope="col" class="partition-lag" colSpan={2}>
              Lag in rows
            </th>
            <th scope="col" class="number">
              Committed
            </th>
            <th scope="col" class="number">
              End
            </th>
            <th scope="col">Watermark</th>
          </tr>
        </thead>
        {read.map((source) => (
          <SourcePartitions
            key={source.id}
            source={source}
            positions={positions.filter((each) => each.source === source.id)}
            most={most}
          />
        ))}
      </table>
    </Scroller>
  )
}

function SourcePartitions({ source, positions, most }: { source: Source; positions: Position[]; most: number }) {
  const now = useNow()
  const topic = positions[0]?.topic ?? null
  return (
    <tbody>
      <tr>
        <th scope="rowgroup" colSpan={6} class="partition-source">
          {topic === null ? 'files' : 'topic'}{' '}
          <span class="mono wrap">{topic === null ? source.id : onOneLine(topic)}</span>
        </th>
      </tr>
      {positions.map(({ partition, position, end, lag_rows: rows, watermark }) => (
        <tr key={partition}>
          <th scope="row" class="mono partition-name">
            {partition === '' ? 'all' : onOneLine(partition)}
          </th>
          <td class="partition-bar">
            {rows !== null && rows > 0 && (
              <span class="partition-room" aria-hidden="true">
                <span class="bar" style={{ width: `${(rows / most) * 100}%` }} />
              </span>
            )}
          </td>
          <td class="number">{rows === null ? <span class="quiet">not known</span> : number(rows)}</td>
          <td class="number">{position === null ? <span class="quiet">none yet</span> : number(position)}</td>
          <td class="number">{end === null ? <span class="quiet">not known</span> : number(end)}</td>
          <td class="moment">{watermark === null ? <span class="quiet">none</span> : clockTime(watermark, now)}</td>
        </tr>
      ))}
    </tbody>
  )
}

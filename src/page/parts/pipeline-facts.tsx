/** The numbers of a pipeline that one looks at first: how fast, how far behind, what was refused. */
import { useCell, useNow } from '../cell.ts'
import { ago, behind, clockOrDay, counted, duration, number, rate, shortNumber } from '../format.ts'
import { rates, secondsKept } from '../live.ts'
import { deadLettersHref, pipelineHref } from '../route.ts'
import type { Lag, Pipeline } from '../types.ts'
import { Sparkline } from './sparkline.tsx'

export function PipelineFacts({ pipeline }: { pipeline: Pipeline }) {
  const known = useCell(rates)[pipeline.pipeline] ?? []
  return (
    <div class="pipeline-facts">
      <div class="pipeline-rate">
        <div class="fact">
          <span class="fact-name">Rows a second</span>
          <span class="fact-value pipeline-rate-now">{rate(pipeline.rows_per_second)}</span>
        </div>
        <Sparkline values={known} room={secondsKept} says="Rows a second in the last two minutes" />
      </div>
      <Facts pipeline={pipeline} />
    </div>
  )
}

function Facts({ pipeline }: { pipeline: Pipeline }) {
  const now = useNow()
  const { pipeline: name, lag, books, batch, last_committed_at: committedAt } = pipeline
  const open = pipeline.dead_letters_open ?? 0
  const quarantined = pipeline.files_quarantined ?? 0
  return (
    <dl class="facts">
      <div class="fact">
        <dt class="fact-name">Lag</dt>
        <dd class="fact-value" title={lag.why ?? undefined}>
          {lagShort(lag)}
        </dd>
        <dd class="fact-more">{lagMore(lag, name)}</dd>
      </div>
      <div class="fact">
        <dt class="fact-name">Last batch</dt>
        <dd class="fact-value">{committedAt === null ? 'none yet' : ago(committedAt, now)}</dd>
        <dd class="fact-more">
          {committedAt === null || batch === null ? (
            'nothing has landed'
          ) : (
            <a href={pipelineHref(name, 'batches')}>batch {number(batch)}</a>
          )}
        </dd>
      </div>
      <div class="fact">
        <dt class="fact-name">Watermark</dt>
        <dd class="fact-value moment">{watermarkShort(pipeline, now)}</dd>
        <dd class="fact-more">
          {pipeline.event_time ? (
            <a href={pipelineHref(name, 'time')}>{watermarkMore(pipeline, now)}</a>
          ) : (
            'no event time'
          )}
        </dd>
      </div>
      <div class="fact">
        <dt class="fact-name">Late</dt>
        <dd class="fact-value">{shortNumber(pipeline.late_rows)}</dd>
        <dd class="fact-more">
          {pipeline.late_rows > 0 ? (
            <a href={pipelineHref(name, 'late')}>{share(pipeline.late_rows, books?.rows_in)}</a>
          ) : (
            share(pipeline.late_rows, books?.rows_in)
          )}
        </dd>
      </div>
      <div class={open > 0 ? 'fact fact-bad' : 'fact'}>
        <dt class="fact-name">Dead letters</dt>
        <dd class="fact-value">{shortNumber(open)}</dd>
        <dd class="fact-more">
          {open > 0 ? <a href={deadLettersHref({ pipeline: name })}>look at them</a> : 'none open'}
        </dd>
      </div>
      {(quarantined > 0 || pipeline.publisher === null) && (
        <div class={quarantined > 0 ? 'fact fact-bad' : 'fact'}>
          <dt class="fact-name">Quarantined</dt>
          <dd class="fact-value">{number(quarantined)}</dd>
          <dd class="fact-more">
            {quarantined > 0 ? <a href={pipelineHref(name, 'files')}>see the files</a> : 'no files'}
          </dd>
        </div>
      )}
      {pipeline.publisher !== null && (
        <div class={pipeline.publisher.is === 'held up' ? 'fact fact-bad' : 'fact'}>
          <dt class="fact-name">To be published</dt>
          <dd class="fact-value">{shortNumber(pipeline.outbox_rows ?? pipeline.publisher.waiting)}</dd>
          <dd class="fact-more" title={pipeline.publisher.why}>
            {pipeline.publisher.is === 'held up' ? 'held up: nothing is lost' : 'messages'}
          </dd>
        </div>
      )}
    </dl>
  )
}

function watermarkShort({ watermark, watermark_closed: closed }: Pipeline, now: number): string {
  if (closed) return 'closed'
  return watermark === null ? 'none' : clockOrDay(watermark, now)
}

function watermarkMore({ watermark, watermark_closed: closed }: Pipeline, now: number): string {
  if (closed) return 'nothing will follow'
  return watermark === null ? 'no row has moved it yet' : behind(watermark, now)
}

// How long, where it is known: rows say less of how bad it is.
function lagShort({ files_waiting: waiting, files_claimed: claimed, rows, seconds }: Lag): string {
  if (waiting + claimed > 0) return duration((seconds ?? 0) * 1000)
  if (rows === null) return 'not known'
  return rows === 0 ? 'none' : counted(rows, 'row')
}

function lagMore(lag: Lag, pipeline: string) {
  const { files_waiting: waiting, files_claimed: claimed, rows, rows_estimated: estimated, why } = lag
  const parts = [
    waiting > 0 ? `${counted(waiting, 'file')} ${waiting === 1 ? 'waits' : 'wait'}` : undefined,
    claimed > 0 ? `${number(claimed)} in hand` : undefined,
    estimated && rows !== null && rows > 0 ? `about ${counted(rows, 'row')}` : undefined,
  ].filter((part) => part !== undefined)
  if (parts.length > 0) return parts.join(', ')
  if (rows === 0) return 'all is read'
  return <a href={pipelineHref(pipeline, 'time')}>{why === null ? 'wait to be read' : 'see why'}</a>
}

function share(rows: number, of: number | undefined): string {
  if (of === undefined || of === 0) return 'of no rows yet'
  const percent = (rows / of) * 100
  return rows === 0 ? 'no rows' : `${percent < 0.01 ? '< 0.01' : number(percent)} % of all`
}

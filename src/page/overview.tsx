/** Every pipeline: how it is, how fast, how far behind, what was refused, and what to do about it. */
import { useCell } from './cell.ts'
import { counted } from './format.ts'
import { connection, pipelines } from './live.ts'
import { Heading } from './parts/heading.tsx'
import { Advice, Empty, Loading } from './parts/notice.tsx'
import { PipelineFacts } from './parts/pipeline-facts.tsx'
import { StateWords } from './parts/state.tsx'
import { pipelineHref } from './route.ts'
import type { Pipeline } from './types.ts'

export function Overview() {
  const all = useCell(pipelines)
  const there = useCell(connection)
  if (all === undefined) {
    return (
      <>
        <Heading title="Overview" />
        {there.is === 'waiting' ? null : <Loading what="the pipelines" />}
      </>
    )
  }
  if (all.length === 0) {
    return (
      <>
        <Heading title="Overview" />
        <Empty title="No pipeline runs here yet">
          <p>
            <code>millrace init</code> writes a first one from a file of yours; <code>millrace start --demo</code> runs
            the two that ship and feeds them.
          </p>
        </Empty>
      </>
    )
  }
  return (
    <>
      <Heading title="Overview">
        <p class="heading-says">{summary(all)}</p>
      </Heading>
      <ul class="pipelines">
        {[...all].sort(byNeed).map((pipeline) => (
          <PipelineCard key={pipeline.pipeline} pipeline={pipeline} />
        ))}
      </ul>
    </>
  )
}

function PipelineCard({ pipeline }: { pipeline: Pipeline }) {
  const { pipeline: name, says, state, advice } = pipeline
  return (
    <li class="card pipeline-card">
      <div class="pipeline-top">
        <div class="pipeline-name">
          <h2>
            <a href={pipelineHref(name)}>{name}</a>
          </h2>
          <p class="quiet">{says}</p>
        </div>
        <StateWords state={state} long />
      </div>
      {advice !== null && <Advice tone={state.is === 'stopped' ? 'bad' : 'warn'}>{advice}</Advice>}
      <PipelineFacts pipeline={pipeline} />
    </li>
  )
}

function summary(all: Pipeline[]): string {
  const inTrouble = all.filter(needsSomebody)
  const running = all.filter(({ state }) => state.is === 'running').length
  const says =
    running === all.length
      ? all.length === 1
        ? 'The pipeline runs.'
        : all.length === 2
          ? 'Both pipelines run.'
          : `All ${all.length} pipelines run.`
      : `${running} of ${counted(all.length, 'pipeline')} ${running === 1 ? 'runs' : 'run'}.`
  if (inTrouble.length === 0) return `${says} Nothing needs you.`
  return `${says} ${inTrouble.map(({ pipeline }) => pipeline).join(' and ')} ${inTrouble.length === 1 ? 'needs' : 'need'} a look.`
}

function needsSomebody({ state, advice }: Pipeline): boolean {
  return advice !== null || state.is === 'stopped' || state.is === 'retrying'
}

function byNeed(a: Pipeline, b: Pipeline): number {
  return Number(needsSomebody(b)) - Number(needsSomebody(a)) || a.pipeline.localeCompare(b.pipeline)
}

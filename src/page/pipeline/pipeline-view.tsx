/** One pipeline: its steps and what flows through them, its event time and lag, late rows, batches, books, files and plan. */
import { useEffect, useRef } from 'preact/hooks'
import { useAnswer } from '../api.ts'
import { useCell } from '../cell.ts'
import { pipelines, watchBatches } from '../live.ts'
import { Heading } from '../parts/heading.tsx'
import { Advice, Loading, ProblemNotice } from '../parts/notice.tsx'
import { PipelineFacts } from '../parts/pipeline-facts.tsx'
import { StateWords } from '../parts/state.tsx'
import { pipelineHref, type Section, sections } from '../route.ts'
import type { PipelineDetails } from '../types.ts'
import { Batches } from './batches.tsx'
import { BooksSection } from './books.tsx'
import { EventTime } from './event-time.tsx'
import { Files } from './files.tsx'
import { LateRows } from './late-rows.tsx'
import { PlanSection } from './plan.tsx'
import { Steps } from './steps.tsx'

const words: Record<Section, string> = {
  steps: 'Steps',
  time: 'Event time and lag',
  late: 'Late rows',
  batches: 'Batches',
  books: 'Books',
  files: 'Files',
  plan: 'Plan and SQL',
}

interface PipelineViewProps {
  name: string
  section: Section
  query: URLSearchParams
}

export function PipelineView({ name, section, query }: PipelineViewProps) {
  const { answer: details, problem, again } = useAnswer<PipelineDetails>(`/api/pipelines/${encodeURIComponent(name)}`)
  const live = useCell(pipelines)?.find(({ pipeline }) => pipeline === name)
  useEffect(() => onceIn(2000, again, name), [name, again])
  const rowsBehind = live?.lag.rows
  useEffect(() => {
    // the lag of partitions is told with the details alone, and changes without a batch
    if (section === 'time' && details !== undefined && rowsBehind !== details.lag.rows) again()
  }, [section, rowsBehind])
  const tabs = useRef<HTMLElement>(null)
  const isShown = live !== undefined || details !== undefined
  useEffect(() => {
    // on a narrow screen it may stand outside
    tabs.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' })
  }, [section, isShown])
  const pipeline = live ?? details
  if (problem?.status === 404) {
    return (
      <>
        <Heading title={`There is no pipeline ${name}`} />
        <p>
          <a href="#/">The overview</a> shows those that there are.
        </p>
      </>
    )
  }
  if (pipeline === undefined) {
    return (
      <>
        <Heading title={name} />
        {problem === undefined ? <Loading what="the pipeline" /> : <ProblemNotice problem={problem} again={again} />}
      </>
    )
  }
  return (
    <>
      <Heading title={name}>
        <StateWords state={pipeline.state} long />
        <p class="heading-says heading-line">{pipeline.says}</p>
      </Heading>
      {pipeline.advice !== null && (
        <Advice tone={pipeline.state.is === 'stopped' ? 'bad' : 'warn'}>{pipeline.advice}</Advice>
      )}
      <div class="pipeline-strip">
        <PipelineFacts pipeline={pipeline} />
      </div>
      <nav class="sections" aria-label={`About ${name}`} ref={tabs}>
        {sections.map((each) => (
          <a key={each} href={pipelineHref(name, each)} aria-current={each === section ? 'page' : undefined}>
            {words[each]}
          </a>
        ))}
      </nav>
      {section === 'batches' ? (
        <Batches pipeline={name} />
      ) : section === 'files' ? (
        <Files pipeline={name} quarantine={details?.quarantine ?? null} />
      ) : section === 'late' ? (
        <LateRows pipeline={pipeline} />
      ) : details === undefined ? (
        problem === undefined ? (
          <Loading what="the plan" />
        ) : (
          <ProblemNotice problem={problem} again={again} />
        )
      ) : section === 'steps' ? (
        <Steps details={details} chosen={query.get('step') ?? undefined} />
      ) : section === 'time' ? (
        <EventTime details={{ ...details, ...live }} />
      ) : section === 'books' ? (
        <BooksSection details={{ ...details, ...live }} />
      ) : (
        <PlanSection details={details} />
      )}
    </>
  )
}

// Batches may come twenty times a second; what is read anew for them is read at most so often.
function onceIn(ms: number, act: () => void, name: string): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const stop = watchBatches(({ pipeline }) => {
    if (pipeline !== name || timer !== undefined || document.hidden) return
    timer = setTimeout(() => {
      timer = undefined
      act()
    }, ms)
  })
  return () => {
    stop()
    clearTimeout(timer)
  }
}

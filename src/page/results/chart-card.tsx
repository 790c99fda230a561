/** One chart with its title, its table for whoever would rather read, and its data to take along. */
import { useEffect, useState } from 'preact/hooks'
import { type Problem, useAnswer, withQuery } from '../api.ts'
import { Downloads } from '../parts/downloads.tsx'
import { ProblemNotice } from '../parts/notice.tsx'
import { TypedField } from '../parts/typed-field.tsx'
import type { Chart, Results } from '../types.ts'
import { Bars, Funnel } from './bars.tsx'
import { isPoint } from './chart-data.ts'
import { Plot } from './plot.tsx'
import { ResultsTable } from './results-table.tsx'

interface ChartCardProps {
  chart: Chart
  /** Whose it is. */
  system: string
  /** Parameters of the view in which it stands. */
  given?: Record<string, string>
}

/** A table of more columns has a row of the page for itself. */
const columnsAside = 5

export function ChartCard({ chart, system, given }: ChartCardProps) {
  const [said, say] = useState<Record<string, string>>({})
  const path = withQuery(chart.route, { ...given, ...said })
  const { answer, problem, again } = useAnswer<Results>(path)
  const { answer: marks, problem: marksProblem, again: marksAgain } = useAnswer<Results>(chart.marks?.route)
  const [asTable, setAsTable] = useState(false)
  useEffect(() => {
    const ask = () => {
      if (document.hidden) return
      again()
      marksAgain()
    }
    const timer = setInterval(ask, Math.max(1, chart.refresh_seconds) * 1000)
    return () => clearInterval(timer)
  }, [chart.refresh_seconds, again, marksAgain])
  const [failure, setFailure] = useState<Problem>()
  // below the title of its view, or that of its system
  const Title = given === undefined ? 'h3' : 'h2'
  const isWide = chart.draws === 'table' && (answer?.columns.length ?? 0) > columnsAside
  const isEmpty = answer !== undefined && answer.rows.length === 0
  return (
    <article class={isWide ? 'card chart chart-wide' : 'card chart'} aria-label={chart.title}>
      <header class="chart-head">
        <div>
          <Title>{chart.title}</Title>
          {chart.says !== undefined && <p class="quiet">{chart.says}</p>}
        </div>
        {chart.draws !== 'table' && (
          <button type="button" class="button button-small button-quiet" onClick={() => setAsTable(!asTable)}>
            {asTable ? 'As a picture' : 'As a table'}
          </button>
        )}
      </header>
      {chart.asks !== undefined && (
        <form class="chart-asks" aria-label={`What ${chart.title} is of`} onSubmit={(event) => event.preventDefault()}>
          {Object.entries(chart.asks).map(([name, label]) => (
            <TypedField
              key={name}
              name={label}
              value={said[name] ?? ''}
              onChange={(value) => say((before) => ({ ...before, [name]: value }))}
            />
          ))}
        </form>
      )}
      <div class="chart-body">
        {problem !== undefined && <ProblemNotice problem={problem} />}
        {marksProblem !== undefined && problem === undefined && <ProblemNotice problem={marksProblem} />}
        {failure !== undefined && <ProblemNotice problem={failure} />}
        {isEmpty && (
          <p class="chart-none">
            {given === undefined ? 'Nothing yet: it fills as rows land.' : 'There is nothing of it.'}
          </p>
        )}
        {answer === undefined && problem === undefined && <p class="chart-none">Reading…</p>}
        {answer !== undefined && !isEmpty && (asTable || chart.draws === 'table') && (
          <ResultsTable results={answer} title={chart.title} lead={chart.leads && { ...chart.leads, system }} />
        )}
        {answer !== undefined && !isEmpty && !asTable && <Picture chart={chart} results={answer} marks={marks} />}
      </div>
      <footer class="chart-foot">
        <span class="quiet">Take it as</span>
        <Downloads
          path={withQuery(chart.takes ?? chart.route, { ...given, ...said })}
          name={nameOf(chart)}
          what={chart.title}
          failed={setFailure}
        />
      </footer>
    </article>
  )
}

function Picture({ chart, results, marks }: { chart: Chart; results: Results; marks: Results | undefined }) {
  switch (chart.draws) {
    case 'funnel':
      return <Funnel chart={chart} results={results} />
    case 'line':
      return <Plot chart={chart} results={results} marks={marks} />
    case 'bars':
      // bars along the time are a plot; bars of names are read better side by side with them
      return isPoint(chart, results) ? (
        <Plot chart={chart} results={results} marks={marks} />
      ) : (
        <Bars chart={chart} results={results} />
      )
    case 'table':
      return null
  }
}

function nameOf({ route }: Chart): string {
  return route.replace(/\?.*/, '').replace(/.*\//, '')
}

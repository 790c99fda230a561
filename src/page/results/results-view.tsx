/** What the systems have to show: the page draws the charts that they declare, and knows nothing else of them. */
import { useAnswer } from '../api.ts'
import { Heading } from '../parts/heading.tsx'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import { TypedField } from '../parts/typed-field.tsx'
import { replaceRoute, viewHref } from '../route.ts'
import type { System, SystemView } from '../types.ts'
import { ChartCard } from './chart-card.tsx'

interface ResultsProps {
  /** All of them, when left out. */
  system: string | undefined
  /** The view of the system, when it is one. */
  of: string | undefined
  query: URLSearchParams
}

export function ResultsView({ system: wanted, of, query }: ResultsProps) {
  const { answer, problem, again } = useAnswer<{ systems: System[] }>('/api/systems')
  const systems = (answer?.systems ?? []).filter(({ charts }) => charts.length > 0)
  const shown = wanted === undefined ? systems : systems.filter(({ name }) => name === wanted)
  const system = of === undefined ? undefined : answer?.systems.find(({ name }) => name === wanted)
  const view = system?.views.find(({ name }) => name === of)
  if (system !== undefined && view !== undefined) return <OneView key={of} system={system} view={view} query={query} />
  return (
    <>
      <Heading title="Results">
        <p class="heading-says">What the rows add up to.</p>
      </Heading>
      {problem !== undefined && <ProblemNotice problem={problem} again={again} />}
      {answer === undefined && problem === undefined && <Loading what="what there is to show" />}
      {systems.length > 1 && (
        <nav class="sections" aria-label="Systems">
          <a href="#/results" aria-current={wanted === undefined ? 'page' : undefined}>
            All
          </a>
          {systems.map(({ name }) => (
            <a
              key={name}
              href={`#/results/${encodeURIComponent(name)}`}
              aria-current={name === wanted ? 'page' : undefined}
            >
              {name}
            </a>
          ))}
        </nav>
      )}
      {answer !== undefined && shown.length === 0 && (
        <Empty title="No charts">
          <p>A system shows its results here when it declares charts.</p>
        </Empty>
      )}
      {shown.map(({ name, says, charts, views }) => (
        <section key={name} class="system" aria-labelledby={`system-${name}`}>
          <header>
            <h2 id={`system-${name}`}>{name}</h2>
            <p class="quiet">{says}</p>
            {views.length > 0 && (
              <p class="system-views">
                {views.map((each) => (
                  <a key={each.name} href={viewHref(name, each.name, {})}>
                    {each.title}
                  </a>
                ))}
              </p>
            )}
          </header>
          <div class="charts">
            {charts.map((chart) => (
              <ChartCard key={chart.route} chart={chart} system={name} />
            ))}
          </div>
        </section>
      ))}
    </>
  )
}

/** One thing, by what its address says it is. */
function OneView({ system, view, query }: { system: System; view: SystemView; query: URLSearchParams }) {
  const given = Object.fromEntries(Object.keys(view.asks).map((name) => [name, query.get(name) ?? '']))
  const back = `#/results/${encodeURIComponent(system.name)}`
  return (
    <>
      <Heading title={view.title}>
        <p class="heading-says">
          {view.says} <a href={back}>All of {system.name}</a>
        </p>
      </Heading>
      <form class="view-asks" aria-label={`What ${view.title} is of`} onSubmit={(event) => event.preventDefault()}>
        {Object.entries(view.asks).map(([name, label]) => (
          <TypedField
            key={name}
            name={label}
            value={given[name]}
            onChange={(value) => replaceRoute(viewHref(system.name, view.name, { ...given, [name]: value }))}
          />
        ))}
      </form>
      <div class="charts charts-of-one">
        {view.charts.map((chart) => (
          <ChartCard key={chart.route} chart={chart} system={system.name} given={given} />
        ))}
      </div>
    </>
  )
}

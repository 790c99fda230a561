/** What the systems have to show: the page draws the charts that they declare, and knows nothing else of them. */
import { useAnswer } from '../api.ts'
import { Heading } from '../parts/heading.tsx'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import type { System } from '../types.ts'
import { ChartCard } from './chart-card.tsx'

export function ResultsView({ system: wanted }: { system: string | undefined }) {
  const { answer, problem, again } = useAnswer<{ systems: System[] }>('/api/systems')
  const systems = (answer?.systems ?? []).filter(({ charts }) => charts.length > 0)
  const shown = wanted === undefined ? systems : systems.filter(({ name }) => name === wanted)
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
      {shown.map(({ name, says, charts }) => (
        <section key={name} class="system" aria-labelledby={`system-${name}`}>
          <header>
            <h2 id={`system-${name}`}>{name}</h2>
            <p class="quiet">{says}</p>
          </header>
          <div class="charts">
            {charts.map((chart) => (
              <ChartCard key={chart.route} chart={chart} />
            ))}
          </div>
        </section>
      ))}
    </>
  )
}

import { Scroller } from '../parts/scroller.tsx'
import { CopyButton, Sql } from '../parts/sql.tsx'
import type { PipelineDetails } from '../types.ts'

export function PlanSection({ details }: { details: PipelineDetails }) {
  const plan = JSON.stringify(details.plan, null, 2)
  return (
    <div class="plan">
      <p class="quiet">
        A plan is plain data with the hash <code>{details.hash}</code>; it is the SQL below that runs. A batch has a
        schema of its own in DuckDB, here written n.
      </p>
      {details.steps.map((step) => (
        <section key={step.id} class="card step">
          <header class="step-title">
            <h2>
              <span class="mono">{step.id}</span> {step.id !== step.op && <span class="quiet">{step.op}</span>}
            </h2>
            <p>{step.says}</p>
          </header>
          {step.duckdb.length + step.store.length === 0 ? (
            <p class="quiet step-none">No SQL of its own.</p>
          ) : (
            <div class="step-parts step-sql">
              <Sql title="In DuckDB" of={step.id} statements={step.duckdb} />
              <Sql title="In Postgres" of={step.id} statements={step.store} />
            </div>
          )}
        </section>
      ))}
      <details class="card step">
        <summary>The plan as data</summary>
        <div class="sql">
          <div class="sql-head">
            <h3>JSON</h3>
            <CopyButton text={plan} what="the plan" />
          </div>
          <Scroller class="pre" label="The plan as JSON">
            <pre>
              <code>{plan}</code>
            </pre>
          </Scroller>
        </div>
      </details>
    </div>
  )
}

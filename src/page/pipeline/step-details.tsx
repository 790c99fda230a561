import { number } from '../format.ts'
import { Scroller } from '../parts/scroller.tsx'
import { Sql } from '../parts/sql.tsx'
import type { Column, Source, Step } from '../types.ts'

export function SourceDetails({ source }: { source: Source }) {
  return (
    <section class="card step" aria-labelledby="step-title">
      <StepTitle id={source.id} op="source" says={source.says} />
      <div class="step-parts">
        <Columns columns={source.columns} />
      </div>
    </section>
  )
}

export function StepDetails({ step }: { step: Step }) {
  return (
    <section class="card step" aria-labelledby="step-title">
      <StepTitle id={step.id} op={step.op} says={step.says} />
      <p class="step-flow">
        {step.rows_in === null ? 'How many rows went in is not known.' : `${number(step.rows_in)} rows in`}
        {step.rows_out !== null && `, ${number(step.rows_out)} out`}
        {step.rows_in !== null && ' in the last minute'}
        {step.from.length > 0 && <span class="quiet"> · reads from {step.from.join(', ')}</span>}
      </p>
      <div class="step-parts">
        <Columns columns={step.columns} />
        {step.reasons.length > 0 && <Reasons reasons={step.reasons} />}
        {(step.duckdb.length > 0 || step.store.length > 0) && (
          <div class="step-sql">
            <Sql title="In DuckDB" of={step.id} statements={step.duckdb} />
            <Sql title="In Postgres" of={step.id} statements={step.store} />
          </div>
        )}
      </div>
    </section>
  )
}

function StepTitle({ id, op, says }: { id: string; op: string; says: string }) {
  return (
    <header class="step-title">
      <h2 id="step-title">
        <span class="mono">{id}</span> {id !== op && <span class="quiet">{op}</span>}
      </h2>
      <p>{says}</p>
    </header>
  )
}

function Columns({ columns }: { columns: Column[] }) {
  return (
    <div class="step-part">
      <h3>{columns.length === 1 ? '1 column' : `${columns.length} columns`}</h3>
      <table>
        <tbody>
          {columns.map(({ name, type, nullable }) => (
            <tr key={name}>
              <td class="mono">{name}</td>
              <td class="mono quiet">
                {type}
                {nullable && ' or no value'}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Reasons({ reasons }: { reasons: Step['reasons'] }) {
  return (
    <div class="step-part">
      <h3>A row becomes a dead letter when</h3>
      <Scroller class="table-box step-reasons" label="Reasons">
        <table>
          <tbody>
            {reasons.map(({ code, column, message }) => (
              <tr key={`${code} ${column} ${message}`}>
                <td class="mono">{code}</td>
                <td class="mono quiet">{column}</td>
                <td>{message}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroller>
    </div>
  )
}

import { number } from '../format.ts'
import { TypedField } from '../parts/typed-field.tsx'
import type { LetterCount } from '../types.ts'
import { type Filter, isEmpty, momentOf } from './filter.ts'

interface FiltersProps {
  filter: Filter
  /** Of all that are open, whatever is chosen: what there is to choose from. */
  counts: LetterCount[]
  pipelines: string[]
  onChange(next: Filter): void
}

export function Filters({ filter, counts, pipelines, onChange }: FiltersProps) {
  const codes = new Map<string, number>()
  for (const { pipeline, code, letters } of counts) {
    if (filter.pipeline === undefined || filter.pipeline === pipeline) codes.set(code, (codes.get(code) ?? 0) + letters)
  }
  if (filter.code !== undefined && !codes.has(filter.code)) codes.set(filter.code, 0)
  const set = (change: { [Name in keyof Filter]?: Filter[Name] | undefined }): void => {
    const next = { ...filter, ...change }
    // as: what is left has no undefined in it
    onChange(
      Object.fromEntries(Object.entries(next).filter(([, value]) => value !== undefined && value !== '')) as Filter,
    )
  }
  return (
    <form class="filters" aria-label="Which dead letters" onSubmit={(event) => event.preventDefault()}>
      <label class="field">
        <span>Pipeline</span>
        <select value={filter.pipeline ?? ''} onChange={(event) => set({ pipeline: event.currentTarget.value })}>
          <option value="">all</option>
          {pipelines.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label class="field">
        <span>Code</span>
        <select value={filter.code ?? ''} onChange={(event) => set({ code: event.currentTarget.value })}>
          <option value="">any</option>
          {[...codes].map(([code, letters]) => (
            <option key={code} value={code}>
              {code} ({number(letters)})
            </option>
          ))}
        </select>
      </label>
      <TypedField name="Column" value={filter.column} onChange={(column) => set({ column })} />
      <TypedField name="File" hint="part of its path" value={filter.file} onChange={(file) => set({ file })} />
      <TypedField
        name="Batch"
        numeric
        value={filter.batch?.toString()}
        onChange={(text) => set({ batch: /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined })}
      />
      <TypedField
        name="Since"
        hint="2h, or 2026-01-31"
        value={filter.since}
        onChange={(since) => set({ since: momentOf(since, Date.now()) })}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={filter.settled === 'true'}
          onChange={(event) => set({ settled: event.currentTarget.checked ? 'true' : undefined })}
        />
        <span>Settled ones too</span>
      </label>
      {!isEmpty(filter) && (
        <button type="button" class="button button-quiet" onClick={() => onChange({})}>
          Clear
        </button>
      )}
    </form>
  )
}

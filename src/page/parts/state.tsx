import { stateMore, stateName, toneOf } from '../format.ts'
import type { State } from '../types.ts'

/** The state of a pipeline in words; the dot only repeats them. */
export function StateWords({ state, long = false }: { state: State; long?: boolean }) {
  const more = stateMore(state)
  return (
    <span class={`state tone-${toneOf(state)}`}>
      <span class="dot" aria-hidden="true" />
      <strong>{stateName(state)}</strong>
      {long && more !== undefined && <span class="state-more">{more}</span>}
    </span>
  )
}

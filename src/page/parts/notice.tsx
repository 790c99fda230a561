import type { ComponentChildren } from 'preact'
import type { Problem } from '../api.ts'
import { sentence } from '../format.ts'

/** What stands where there is nothing to show: why, and what would bring something. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  )
}

/** While the first answer is on its way. */
export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Reading {what}…
    </p>
  )
}

export function ProblemNotice({ problem, again }: { problem: Problem; again?: () => void }) {
  return (
    <div class="notice notice-bad" role="alert">
      <p>
        <strong>{sentence(problem.detail)}</strong> {problem.hint !== undefined && sentence(problem.hint)}
      </p>
      <p class="notice-code">{problem.code}</p>
      {again !== undefined && (
        <button type="button" class="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  )
}

export function Advice({ tone, children }: { tone: 'warn' | 'bad'; children: ComponentChildren }) {
  return (
    <div class={`notice notice-${tone}`}>
      <span class="notice-mark" aria-hidden="true">
        !
      </span>
      <p>{children}</p>
    </div>
  )
}

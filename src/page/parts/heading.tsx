import type { ComponentChildren } from 'preact'

/** The heading of a view, with what belongs to the whole of it at its end. */
export function Heading({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="heading">
      <h1>{title}</h1>
      {children}
    </div>
  )
}

import type { ComponentChildren } from 'preact'

/** A box whose content may be wider or longer than it: the keyboard reaches it, and it has a name. */
export function Scroller({
  label,
  class: name,
  children,
}: {
  label: string
  class: string
  children: ComponentChildren
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: whoever has no mouse scrolls it with the arrow keys
    <section class={name} aria-label={label} tabIndex={0}>
      {children}
    </section>
  )
}

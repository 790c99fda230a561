import { useState } from 'preact/hooks'
import { Scroller } from './scroller.tsx'

/** Statements to be read, and taken along. */
export function Sql({ title, of, statements }: { title: string; of: string; statements: string[] }) {
  if (statements.length === 0) return null
  const text = statements.join('\n\n')
  return (
    <div class="sql">
      <div class="sql-head">
        <h3>{title}</h3>
        <CopyButton text={text} what={`${title}, ${of}`} />
      </div>
      <Scroller class="pre" label={`${title}, ${of}`}>
        <pre>
          <code>{text}</code>
        </pre>
      </Scroller>
    </div>
  )
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [said, say] = useState<string>()
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => say('Copied'),
      () => say('The browser does not allow it'),
    )
    setTimeout(() => say(undefined), 2000)
  }
  return (
    <button type="button" class="button button-small button-quiet" onClick={copy} aria-label={`Copy ${what}`}>
      <span aria-live="polite">{said ?? 'Copy'}</span>
    </button>
  )
}

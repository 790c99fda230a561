import { useEffect, useRef, useState } from 'preact/hooks'

interface TypedFieldProps {
  name: string
  hint?: string
  numeric?: boolean
  value: string | undefined
  onChange(value: string): void
}

const settleMs = 300

/** Tells what was typed when the typing has paused, not at each letter. */
export function TypedField({ name, hint, numeric = false, value = '', onChange }: TypedFieldProps) {
  const [typed, setTyped] = useState(value)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => setTyped(value), [value])
  useEffect(() => () => clearTimeout(timer.current), [])
  const give = (text: string): void => {
    clearTimeout(timer.current)
    if (text.trim() !== value) onChange(text.trim())
  }
  return (
    <label class="field">
      <span>{name}</span>
      <input
        type="text"
        inputMode={numeric ? 'numeric' : 'text'}
        placeholder={hint}
        spellcheck={false}
        autocomplete="off"
        value={typed}
        onInput={(event) => {
          const text = event.currentTarget.value
          setTyped(text)
          clearTimeout(timer.current)
          timer.current = setTimeout(() => give(text), settleMs)
        }}
        onKeyDown={(event) => event.key === 'Enter' && give(typed)}
        onBlur={() => give(typed)}
      />
    </label>
  )
}

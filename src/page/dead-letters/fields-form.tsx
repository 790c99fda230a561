import { useEffect, useId, useState } from 'preact/hooks'
import { ask, type Problem, problemFrom } from '../api.ts'
import { ProblemNotice } from '../parts/notice.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import type { Letter } from '../types.ts'

type Fields = Record<string, string | null>

/** The fields of a row, to be mended before it is replayed. A field may be empty, or missing altogether. */
export function FieldsForm({ letter, saved }: { letter: Letter; saved(): void }) {
  const columns =
    letter.fields === null ? letter.columns : [...new Set([...letter.columns, ...Object.keys(letter.fields)])]
  const [edited, setEdited] = useState<Fields>({})
  const [problem, setProblem] = useState<Problem>()
  const [saving, setSaving] = useState(false)
  const [done, setDone] = useState(false)
  const original = letter.fields ?? {}
  const stored = JSON.stringify(original)
  useEffect(() => setEdited({}), [stored])
  const changes = Object.entries(edited).filter(
    ([name, value]) => value !== (original[name] ?? null) || !(name in original),
  )
  const isOpen = letter.settled === null

  const save = async (): Promise<void> => {
    setSaving(true)
    setProblem(undefined)
    try {
      await ask(`/api/dead-letters/${letter.id}`, { method: 'PATCH', body: { fields: Object.fromEntries(changes) } })
      setDone(true)
      saved()
    } catch (error) {
      setProblem(problemFrom(error))
    } finally {
      setSaving(false)
    }
  }

  if (columns.length === 0) return null
  return (
    <form
      class="fields-form"
      onSubmit={(event) => {
        event.preventDefault()
        void save()
      }}
    >
      <h3>{isOpen ? 'Mend it' : 'Its fields'}</h3>
      {letter.fields === null && isOpen && (
        <p class="quiet">The row could not be told into columns. Give each of them a value, and it can be replayed.</p>
      )}
      <div class="fields">
        {columns.map((name) => (
          <FieldInput
            key={name}
            name={name}
            value={name in edited ? (edited[name] ?? null) : (original[name] ?? null)}
            isCulprit={name === letter.column}
            isChanged={changes.some(([changed]) => changed === name)}
            readOnly={!isOpen || !letter.columns.includes(name)}
            onChange={(value) => {
              setDone(false)
              setEdited({ ...edited, [name]: value })
            }}
          />
        ))}
      </div>
      {problem !== undefined && <ProblemNotice problem={problem} />}
      {isOpen && (
        <div class="fields-foot">
          <button type="submit" class="button" disabled={changes.length === 0 || saving}>
            {saving ? 'Saving…' : 'Save the changes'}
          </button>
          {changes.length > 0 && (
            <button type="button" class="button button-quiet" onClick={() => setEdited({})}>
              Undo
            </button>
          )}
          <span role="status" class="quiet">
            {done && changes.length === 0 ? 'Saved. Replay sends it with these values.' : ''}
          </span>
        </div>
      )}
    </form>
  )
}

interface FieldInputProps {
  name: string
  value: string | null
  isCulprit: boolean
  isChanged: boolean
  readOnly: boolean
  onChange(value: string | null): void
}

function FieldInput({ name, value, isCulprit, isChanged, readOnly, onChange }: FieldInputProps) {
  const id = useId()
  const classes = ['field-row', isCulprit && 'is-culprit', isChanged && 'is-changed'].filter(Boolean).join(' ')
  return (
    <div class={classes}>
      <label for={id} class="mono">
        {onOneLine(name)}
        {isCulprit && ' '}
        {isCulprit && <span class="field-note">refused</span>}
        {isChanged && ' '}
        {isChanged && <span class="field-note">changed</span>}
      </label>
      <textarea
        id={id}
        class="mono"
        rows={Math.min(6, (value ?? '').split('\n').length)}
        spellcheck={false}
        readOnly={readOnly}
        placeholder={value === null ? 'no value' : ''}
        value={value ?? ''}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={value === null}
          disabled={readOnly}
          aria-label={`no value for ${onOneLine(name)}`}
          onChange={(event) => onChange(event.currentTarget.checked ? null : '')}
        />
        <span aria-hidden="true">no value</span>
      </label>
    </div>
  )
}

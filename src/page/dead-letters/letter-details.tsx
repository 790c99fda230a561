/** One dead letter: what was wrong, where it stands, its row with the culprit marked, its fields to mend. */
import { useEffect } from 'preact/hooks'
import { useAnswer } from '../api.ts'
import { useNow } from '../cell.ts'
import { ago } from '../format.ts'
import { Loading, ProblemNotice } from '../parts/notice.tsx'
import { RawText } from '../parts/raw-text.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import { pipelineHref } from '../route.ts'
import type { Letter } from '../types.ts'
import type { Asked } from './dead-letters.tsx'
import { FieldsForm } from './fields-form.tsx'

interface LetterDetailsProps {
  id: number
  /** As the list has it, until the whole of it is read. */
  known: Letter | undefined
  /** Changes when a dialog closes: what is shown may have been settled. */
  turn: Asked | undefined
  ask(asked: Asked): void
  close(): void
  changed(letter: Letter): void
}

export function LetterDetails({ id, known, turn, ask, close, changed }: LetterDetailsProps) {
  const { answer, problem, again } = useAnswer<Letter>(`/api/dead-letters/${id}`)
  const now = useNow()
  useEffect(() => {
    if (turn === undefined && answer !== undefined) again()
  }, [turn])
  useEffect(() => {
    if (answer !== undefined) changed(answer)
  }, [answer])
  const letter = answer ?? known
  const back = (
    <button type="button" class="button button-small letter-back" onClick={close}>
      ← All dead letters
    </button>
  )
  if (letter === undefined) {
    return (
      <div class="letter">
        {back}
        {problem === undefined ? <Loading what="the dead letter" /> : <ProblemNotice problem={problem} again={again} />}
      </div>
    )
  }
  const one = { where: { ids: [id] }, letters: 1, columns: [] }
  return (
    <article class="letter">
      {back}
      <header class="letter-head">
        <div>
          <p class="letter-kind">
            <strong>{letter.code}</strong> dead letter {letter.id}
          </p>
          <h2>{onOneLine(letter.message)}</h2>
        </div>
        {letter.settled === null && (
          <div class="letter-actions">
            <button type="button" class="button button-main" onClick={() => ask({ about: 'replay', ...one })}>
              Replay…
            </button>
            <button type="button" class="button" onClick={() => ask({ about: 'discard', ...one })}>
              Discard…
            </button>
          </div>
        )}
      </header>
      {letter.settled !== null && (
        <p class="settled">
          {letter.settled === 'replayed' ? 'Replayed' : 'Discarded'}
          {letter.settled_at !== null && ` ${ago(letter.settled_at, now)}`}
          {letter.settled_by !== null && `: ${onOneLine(letter.settled_by)}`}
        </p>
      )}
      {problem !== undefined && <ProblemNotice problem={problem} again={again} />}
      {letter.meaning !== null && <p class="meaning">{letter.meaning}</p>}
      <h3>The row as it was read</h3>
      <RawText text={letter.raw} fault={letter.fault} line={letter.line} />
      {letter.raw_cut && <p class="quiet">The rest of the row is being read…</p>}
      <dl class="pairs">
        <dt>Where</dt>
        <dd class="mono wrap">
          {onOneLine(letter.place)}
          {letter.line !== null && `, line ${letter.line}`}
        </dd>
        <dt>Column</dt>
        <dd class="mono">{letter.column === null ? 'none of its own' : onOneLine(letter.column)}</dd>
        <dt>Refused at</dt>
        <dd>
          {letter.stage}, <time dateTime={letter.rejected_at}>{ago(letter.rejected_at, now)}</time>{' '}
          <span class="quiet">{letter.rejected_at.replace('T', ' ').slice(0, 19)}</span>
        </dd>
        <dt>Pipeline</dt>
        <dd>
          <a href={pipelineHref(letter.pipeline)}>{letter.pipeline}</a>, batch {letter.batch}
        </dd>
      </dl>
      <FieldsForm letter={letter} saved={again} />
    </article>
  )
}

/** A replay shows what it would do before it does it: one click to ask, one to do it, one to go on. */
import { useEffect, useState } from 'preact/hooks'
import { ask as askServer, type Problem, problemFrom } from '../api.ts'
import { counted, number } from '../format.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Loading, ProblemNotice } from '../parts/notice.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import type { DryRun, Replay } from '../types.ts'
import type { Asked } from './dead-letters.tsx'
import { inWords } from './filter.ts'

type Stage =
  | { is: 'looking' }
  | { is: 'asking'; forecast: DryRun }
  | { is: 'replaying' }
  | { is: 'done'; replay: Replay }
  | { is: 'failed'; problem: Problem }

/** More of them are left to a worker. */
const mostWaitedFor = 10_000

interface ReplayDialogProps {
  asked: Asked
  onClose(): void
  onDone(): void
}

export function ReplayDialog({ asked, onClose, onDone }: ReplayDialogProps) {
  const [stage, setStage] = useState<Stage>({ is: 'looking' })
  const [set, setSet] = useState<{ column: string; value: string }>()
  const request = {
    where: asked.where,
    ...(set === undefined ? {} : { set: { [set.column]: set.value } }),
  }
  const look = (): (() => void) => {
    const stop = new AbortController()
    setStage({ is: 'looking' })
    askServer<DryRun>('/api/dead-letters/replay', {
      method: 'POST',
      body: { ...request, dry_run: true },
      signal: stop.signal,
    }).then(
      (forecast) => setStage({ is: 'asking', forecast }),
      (error: unknown) => stop.signal.aborted || setStage({ is: 'failed', problem: problemFrom(error) }),
    )
    return () => stop.abort()
  }
  useEffect(look, [set])
  const would = stage.is === 'asking' ? stage.forecast.counts.reduce((sum, { letters }) => sum + letters, 0) : 0
  const replay = async (): Promise<void> => {
    setStage({ is: 'replaying' })
    try {
      const done = await askServer<Replay>('/api/dead-letters/replay', {
        method: 'POST',
        body: would > mostWaitedFor ? { ...request, by_worker: true } : request,
      })
      setStage({ is: 'done', replay: done })
      onDone()
    } catch (error) {
      setStage({ is: 'failed', problem: problemFrom(error) })
    }
  }
  const lands = stage.is === 'asking' && stage.forecast.counts.some((count) => count.would === 'land')
  return (
    <Dialog title={`Replay ${inWords(asked.where, asked.letters)}`} onClose={onClose}>
      <div class="dialog-body" aria-live="polite">
        {stage.is === 'looking' && <Loading what="what would become of them" />}
        {stage.is === 'asking' && <Forecast forecast={stage.forecast} />}
        {stage.is === 'asking' && asked.columns.length > 0 && (
          <SetForAll columns={asked.columns} given={set} onChange={setSet} />
        )}
        {stage.is === 'replaying' && <p role="status">Replaying: the rows take the road of any other…</p>}
        {stage.is === 'done' && <Done replay={stage.replay} />}
        {stage.is === 'failed' && <ProblemNotice problem={stage.problem} again={look} />}
      </div>
      <div class="dialog-foot">
        {stage.is === 'done' ? (
          <button type="button" class="button button-main" onClick={onClose} ref={focusOn}>
            Close
          </button>
        ) : (
          <>
            <button type="button" class="button" onClick={onClose}>
              Leave it
            </button>
            <button
              type="button"
              class="button button-main"
              disabled={stage.is !== 'asking' || would === 0}
              onClick={() => void replay()}
            >
              {buttonText(stage, would, lands)}
            </button>
          </>
        )}
      </div>
    </Dialog>
  )
}

function buttonText(stage: Stage, would: number, lands: boolean): string {
  if (stage.is === 'replaying') return 'Replaying…'
  if (would === 0) return 'Replay'
  return lands ? `Replay ${number(would)}` : 'Replay all the same'
}

function Forecast({ forecast }: { forecast: DryRun }) {
  const most = Math.max(1, ...forecast.counts.map(({ letters }) => letters))
  const notLanding = forecast.first.filter(({ would }) => would !== 'land')
  return (
    <>
      <p>
        {forecast.counts.length === 0
          ? 'None of them can be replayed as they are.'
          : 'Nothing has been changed yet. This is what a replay would do:'}
      </p>
      <ul class="forecast">
        {forecast.counts.map(({ would, code, letters }) => (
          <li key={`${would} ${code}`} class={would === 'land' ? 'would-land' : 'would-not'}>
            <span class="forecast-count">{number(letters)}</span>
            <span class="forecast-words">
              would {would}
              {code !== null && <code> {code}</code>}
            </span>
            <span class="forecast-bar" aria-hidden="true">
              <span style={{ width: `${(letters / most) * 100}%` }} />
            </span>
          </li>
        ))}
      </ul>
      {forecast.left.length > 0 && <p>These stay as they are: {forecast.left.join('; ')}.</p>}
      {notLanding.length > 0 && (
        <details>
          <summary>Why some would not land</summary>
          <ul class="whys">
            {notLanding.map(({ id, would, code, why }) => (
              <li key={id}>
                <span class="mono">{id}</span> would {would}
                {code !== null && `, ${code}`}
                {why !== null && `: ${onOneLine(why)}`}
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  )
}

interface SetForAllProps {
  columns: string[]
  given: { column: string; value: string } | undefined
  onChange(given: { column: string; value: string } | undefined): void
}

function SetForAll({ columns, given, onChange }: SetForAllProps) {
  const [column, setColumn] = useState(given?.column ?? columns[0] ?? '')
  const [value, setValue] = useState(given?.value ?? '')
  return (
    <details open={given !== undefined}>
      <summary>Give all of them the same value in a column</summary>
      <form
        class="set-for-all"
        onSubmit={(event) => {
          event.preventDefault()
          onChange({ column, value })
        }}
      >
        <label class="field">
          <span>Column</span>
          <select value={column} onChange={(event) => setColumn(event.currentTarget.value)}>
            {columns.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label class="field">
          <span>Value</span>
          <input
            type="text"
            spellcheck={false}
            value={value}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="button">
          See what it would do
        </button>
        {given !== undefined && (
          <button type="button" class="button button-quiet" onClick={() => onChange(undefined)}>
            As they are
          </button>
        )}
      </form>
    </details>
  )
}

function Done({ replay }: { replay: Replay }) {
  return (
    <>
      {(replay.left_to_workers ?? []).map((pipeline) => (
        <p key={pipeline}>
          A worker of <strong>{onOneLine(pipeline)}</strong> replays them, behind other work:{' '}
          <a href="#/tasks">Tasks</a> shows it until it is done.
        </p>
      ))}
      {replay.replayed.map((each) => (
        <div key={each.pipeline} class="replayed">
          <p>
            <strong>{counted(each.rows_in, 'row')}</strong> of {each.pipeline} {each.rows_in === 1 ? 'was' : 'were'}{' '}
            sent again in {counted(each.batches, 'batch', 'batches')}.
          </p>
          <ul class="forecast">
            {verdictsOf(each).map(({ words, rows, good }) => (
              <li key={words} class={good ? 'would-land' : 'would-not'}>
                <span class="forecast-count">{number(rows)}</span>
                <span class="forecast-words">{words}</span>
              </li>
            ))}
          </ul>
          {each.dead_again.length > 0 && (
            <p>
              Those that failed again are new dead letters:{' '}
              {each.dead_again.map(({ code, letters }) => `${number(letters)} ${code}`).join(', ')}.
            </p>
          )}
        </div>
      ))}
      {replay.replayed.length === 0 && (replay.left_to_workers ?? []).length === 0 && <p>No row was sent again.</p>}
      {replay.left.length > 0 && <p>These stay as they are: {replay.left.join('; ')}.</p>}
    </>
  )
}

function verdictsOf(books: Replay['replayed'][number]): { words: string; rows: number; good: boolean }[] {
  return [
    { words: 'landed', rows: books.written, good: true },
    { words: books.duplicates === 1 ? 'was a duplicate' : 'were duplicates', rows: books.duplicates, good: false },
    { words: books.filtered === 1 ? 'was filtered out' : 'were filtered out', rows: books.filtered, good: false },
    { words: books.late === 1 ? 'was late' : 'were late', rows: books.late, good: false },
    { words: 'failed again', rows: books.dead, good: false },
  ].filter(({ rows }) => rows > 0)
}

function focusOn(button: HTMLButtonElement | null): void {
  button?.focus()
}

/** Rows that were refused: find them, see what was wrong, mend them, send them again or let them go. */
import { useEffect, useState } from 'preact/hooks'
import { useAnswer, withQuery } from '../api.ts'
import { useCell } from '../cell.ts'
import { counted, number } from '../format.ts'
import { pipelines, watchDead } from '../live.ts'
import { Heading } from '../parts/heading.tsx'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import { deadLettersHref, replaceRoute } from '../route.ts'
import type { Letter, LetterCount, Where } from '../types.ts'
import { DiscardDialog } from './discard-dialog.tsx'
import { type Filter, filterFrom, isEmpty, whereOf } from './filter.ts'
import { Filters } from './filters.tsx'
import { LetterDetails } from './letter-details.tsx'
import { LetterList } from './letter-list.tsx'
import { useLetterPages } from './letter-pages.ts'
import { ReplayDialog } from './replay-dialog.tsx'

/** What is asked about in a dialog. */
export interface Asked {
  about: 'replay' | 'discard'
  where: Where
  letters: number
  /** Columns that a value can be given to for all of them. */
  columns: string[]
}

export function DeadLetters({ query }: { query: URLSearchParams }) {
  const filter = filterFrom(query)
  const chosen = Number(query.get('id') ?? '') || undefined
  const pages = useLetterPages(filter)
  const { settled: _, ...conditions } = filter
  const tally = useAnswer<{ counts: LetterCount[] }>(withQuery('/api/dead-letters/counts', conditions))
  const every = useAnswer<{ counts: LetterCount[] }>('/api/dead-letters/counts')
  const [asked, ask] = useState<Asked | undefined>(undefined)
  const fresh = useFreshLetters(filter.pipeline)
  const names = (useCell(pipelines) ?? []).map(({ pipeline }) => pipeline)

  const show = (next: Filter, id?: number): void => replaceRoute(deadLettersHref({ ...next, id }))
  const recount = (): void => {
    tally.again()
    every.again()
  }
  const settle = (): void => {
    recount()
    if (asked?.where.ids === undefined) {
      show(filter)
      pages.reload()
    }
  }
  const counts = tally.answer?.counts
  const open = counts?.reduce((sum, { letters }) => sum + letters, 0)
  const total = filter.settled === undefined ? open : undefined
  const known = pages.letters.find(({ id }) => id === chosen)
  return (
    <div class={chosen === undefined ? 'letters' : 'letters has-chosen'}>
      <Heading title="Dead letters">
        <p class="heading-says">{headingSays(open, filter)}</p>
      </Heading>
      <Filters filter={filter} counts={every.answer?.counts ?? []} pipelines={names} onChange={(next) => show(next)} />
      <div class="letters-panes">
        <section class="letters-left" aria-label="List">
          <div class="letters-bar">
            <span class="quiet" role="status">
              {listSays(pages.letters.length, total, pages.first)}
            </span>
            {fresh.count > 0 && (
              <button
                type="button"
                class="button button-small"
                onClick={() => {
                  fresh.seen()
                  recount()
                  pages.reload()
                }}
              >
                Show {number(fresh.count)} new
              </button>
            )}
            {/* the columns to give a value to are those of the list: before it has come, there would be none */}
            {!pages.first && <BulkButtons counts={counts ?? []} filter={filter} letters={pages.letters} ask={ask} />}
          </div>
          {pages.problem !== undefined && <ProblemNotice problem={pages.problem} again={pages.reload} />}
          {pages.first ? (
            <Loading what="dead letters" />
          ) : pages.letters.length === 0 && pages.problem === undefined ? (
            <NoLetters filter={filter} clear={() => show({})} />
          ) : (
            <LetterList
              key={JSON.stringify(filter)}
              letters={pages.letters}
              total={total}
              more={pages.more}
              chosen={chosen}
              readMore={pages.readMore}
              choose={({ id }) => show(filter, id)}
            />
          )}
        </section>
        <section class="letters-right" aria-label="One dead letter">
          {chosen === undefined ? (
            pages.letters.length > 0 && (
              <p class="pane-hint">Choose a dead letter to see its row, and what was wrong with it.</p>
            )
          ) : (
            <LetterDetails
              key={chosen}
              id={chosen}
              known={known}
              ask={ask}
              close={() => show(filter)}
              changed={(letter) => pages.replace([letter])}
              turn={asked}
            />
          )}
        </section>
      </div>
      {asked?.about === 'replay' && <ReplayDialog asked={asked} onClose={() => ask(undefined)} onDone={settle} />}
      {asked?.about === 'discard' && <DiscardDialog asked={asked} onClose={() => ask(undefined)} onDone={settle} />}
    </div>
  )
}

interface BulkButtonsProps {
  counts: LetterCount[]
  filter: Filter
  letters: Letter[]
  ask(asked: Asked): void
}

function BulkButtons({ counts, filter, letters, ask }: BulkButtonsProps) {
  const count = counts.reduce((sum, each) => sum + each.letters, 0)
  if (count === 0) return null
  const seen = letters.slice(0, 200)
  // those that were refused come first: they are what one would mend
  const columns = [...new Set([...seen.flatMap(({ column }) => column ?? []), ...seen.flatMap((each) => each.columns)])]
  const all = { where: whereOf(filter), letters: count, columns }
  return (
    <span class="letters-bulk">
      <button type="button" class="button button-small" onClick={() => ask({ about: 'replay', ...all })}>
        Replay all {number(count)}…
      </button>
      <button type="button" class="button button-small" onClick={() => ask({ about: 'discard', ...all })}>
        Discard all…
      </button>
    </span>
  )
}

function NoLetters({ filter, clear }: { filter: Filter; clear(): void }) {
  if (isEmpty(filter)) {
    return (
      <Empty title="No dead letters">
        <p>Every row that was read has landed, or was counted as filtered, duplicate or late.</p>
      </Empty>
    )
  }
  return (
    <Empty title="None like that">
      <p>No open dead letter meets all of these conditions.</p>
      <button type="button" class="button" onClick={clear}>
        Show all of them
      </button>
    </Empty>
  )
}

// How many have come since the list was read: a list that moves by itself cannot be worked in.
function useFreshLetters(pipeline: string | undefined): { count: number; seen(): void } {
  const [count, setCount] = useState(0)
  useEffect(
    () =>
      watchDead(({ pipeline: from, codes }) => {
        if (pipeline !== undefined && from !== pipeline) return
        setCount((before) => before + Object.values(codes).reduce((sum, letters) => sum + letters, 0))
      }),
    [pipeline],
  )
  return { count, seen: () => setCount(0) }
}

function headingSays(open: number | undefined, filter: Filter): string {
  if (open === undefined) return ''
  if (open === 0) return isEmpty(filter) ? 'None is open.' : 'None open is like that.'
  if (!isEmpty(filter)) return `${counted(open, 'open dead letter')} ${open === 1 ? 'is' : 'are'} like that.`
  return `${counted(open, 'row')} ${open === 1 ? 'was' : 'were'} refused and ${open === 1 ? 'is' : 'are'} still open.`
}

function listSays(loaded: number, total: number | undefined, first: boolean): string {
  if (first || loaded === 0) return ''
  if (total === undefined) return `${number(loaded)} read`
  return loaded >= total
    ? `${number(loaded)}, newest first`
    : `${number(loaded)} of ${number(total)} read, newest first`
}

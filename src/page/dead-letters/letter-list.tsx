/** A list of any length: only what can be seen is in the page, and more is read when its end comes near. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { useNow } from '../cell.ts'
import { ago, fileName } from '../format.ts'
import { onOneLine } from '../parts/text-parts.ts'
import type { Letter } from '../types.ts'

interface LetterListProps {
  letters: Letter[]
  total: number | undefined
  more: boolean
  chosen: number | undefined
  readMore(): void
  choose(letter: Letter): void
}

const rowHeight = 52
const spare = 6
// Rows before the end at which the next page is asked for.
const ahead = 60

export function LetterList({ letters, total, more, chosen, readMore, choose }: LetterListProps) {
  const scroller = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ top: 0, height: 600 })
  const [active, setActive] = useState(0)
  const at = Math.min(active, letters.length - 1)

  useLayoutEffect(() => {
    const box = scroller.current
    if (box === null) return
    const measure = (): void => setView({ top: box.scrollTop, height: box.clientHeight })
    measure()
    const watch = new ResizeObserver(measure)
    watch.observe(box)
    return () => watch.disconnect()
  }, [])

  const first = Math.max(0, Math.floor(view.top / rowHeight) - spare)
  const last = Math.min(letters.length, Math.ceil((view.top + view.height) / rowHeight) + spare)
  useEffect(() => {
    if (more && last + ahead >= letters.length) readMore()
  }, [last, letters.length, more, readMore])

  const go = (index: number): void => {
    const next = Math.max(0, Math.min(letters.length - 1, index))
    setActive(next)
    const box = scroller.current
    if (box === null) return
    if (next * rowHeight < box.scrollTop) box.scrollTop = next * rowHeight
    else if ((next + 1) * rowHeight > box.scrollTop + box.clientHeight)
      box.scrollTop = (next + 1) * rowHeight - box.clientHeight
  }
  const onKeyDown = (event: KeyboardEvent): void => {
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 1)
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: letters.length - 1,
    }
    const next = moves[event.key]
    const letter = letters[at]
    if (next !== undefined) go(next)
    else if ((event.key === 'Enter' || event.key === ' ') && letter !== undefined) choose(letter)
    else return
    event.preventDefault()
  }

  const inSight = at >= first && at < last ? letters[at] : undefined
  return (
    <div
      ref={scroller}
      class="letter-list"
      role="listbox"
      tabIndex={0}
      aria-label="Dead letters"
      aria-activedescendant={inSight === undefined ? undefined : `letter-${inSight.id}`}
      onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}
      onKeyDown={onKeyDown}
    >
      <div class="letter-room" role="presentation" style={{ height: `${letters.length * rowHeight}px` }}>
        {letters.slice(first, last).map((letter, index) => (
          <LetterRow
            key={letter.id}
            letter={letter}
            top={(first + index) * rowHeight}
            position={first + index + 1}
            of={total ?? -1}
            isActive={first + index === at}
            isChosen={letter.id === chosen}
            choose={() => {
              setActive(first + index)
              choose(letter)
            }}
          />
        ))}
      </div>
    </div>
  )
}

interface LetterRowProps {
  letter: Letter
  top: number
  position: number
  of: number
  isActive: boolean
  isChosen: boolean
  choose(): void
}

function LetterRow({ letter, top, position, of, isActive, isChosen, choose }: LetterRowProps) {
  const now = useNow()
  const { id, code, column, message, place, line, rejected_at: at, settled } = letter
  const classes = ['letter-row', isActive && 'is-active', settled !== null && 'is-settled'].filter(Boolean).join(' ')
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the list takes the keys for its options
    <div
      id={`letter-${id}`}
      class={classes}
      role="option"
      tabIndex={-1}
      aria-selected={isChosen}
      aria-posinset={position}
      aria-setsize={of}
      style={{ transform: `translateY(${top}px)` }}
      onClick={choose}
    >
      <span class="letter-code">
        {code}
        {column !== null && <span class="letter-column">{onOneLine(column)}</span>}
      </span>
      <span class="letter-message">{onOneLine(message)}</span>
      <span class="letter-place" title={onOneLine(place)}>
        {onOneLine(fileName(place))}
        {line !== null && <span class="quiet">:{line}</span>}
      </span>
      <span class="letter-when">{settled === null ? ago(at, now) : settled}</span>
    </div>
  )
}

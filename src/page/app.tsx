/** The frame around every view: where one is, where one can go, and whether the server is there. */
import { useEffect, useErrorBoundary, useRef } from 'preact/hooks'
import { hasToken, problemFrom, showText, tokenWanted } from './api.ts'
import { useCell, useNow } from './cell.ts'
import { DeadLetters } from './dead-letters/dead-letters.tsx'
import { clockTime, counted, duration, sentence } from './format.ts'
import { connection, heardAt, pipelines, tryNow } from './live.ts'
import { LiveView } from './live-view.tsx'
import { Overview } from './overview.tsx'
import { Heading } from './parts/heading.tsx'
import { ProblemNotice } from './parts/notice.tsx'
import { TokenDialog } from './parts/token-dialog.tsx'
import { PipelineView } from './pipeline/pipeline-view.tsx'
import { ResultsView } from './results/results-view.tsx'
import { type Route, route } from './route.ts'
import { TasksView } from './tasks.tsx'
import { chooseTheme, theme, themes } from './theme.ts'

export function App() {
  const here = useCell(route)
  const main = useRef<HTMLElement>(null)
  const place = placeOf(here)
  const shown = useRef(place)
  useEffect(() => {
    document.title = `${titleOf(here)} · Millrace`
    // whoever reads by ear or by keyboard begins at the top of the new view
    if (shown.current !== place) {
      main.current?.focus({ preventScroll: true })
      window.scrollTo(0, 0)
    }
    shown.current = place
  }, [place])
  const wanted = useCell(tokenWanted)
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header here={here} />
      <ConnectionBanner />
      <main id="main" tabIndex={-1} ref={main}>
        <Guarded key={place} here={here} />
      </main>
      <footer class="foot">
        <span class="foot-says">All times are UTC.</span>
        <a href="/api/docs">API</a>
        <MetricsLink />
      </footer>
      {wanted !== undefined && <TokenDialog why={wanted} />}
    </>
  )
}

function MetricsLink() {
  const { is } = useCell(connection)
  return (
    <a
      href="/metrics"
      onClick={(event) => {
        if (!hasToken() && is !== 'refused') return
        event.preventDefault()
        void showText('/metrics')
      }}
    >
      Metrics
    </a>
  )
}

// A fault of one view must not take the rest of the page with it.
function Guarded({ here }: { here: Route }) {
  const [error, again] = useErrorBoundary()
  if (error === undefined) return <View here={here} />
  return (
    <>
      <Heading title={titleOf(here)} />
      <ProblemNotice problem={{ ...problemFrom(error), code: 'NOT_DRAWN' }} again={again} />
    </>
  )
}

function View({ here }: { here: Route }) {
  switch (here.view) {
    case 'overview':
      return <Overview />
    case 'pipeline':
      return <PipelineView key={here.pipeline} name={here.pipeline} section={here.section} query={here.query} />
    case 'dead letters':
      return <DeadLetters query={here.query} />
    case 'live':
      return <LiveView query={here.query} />
    case 'tasks':
      return <TasksView />
    case 'results':
      return <ResultsView system={here.system} of={here.of} query={here.query} />
    case 'nowhere':
      return (
        <>
          <Heading title="There is nothing here" />
          <p>
            No view has the address <code class="wrap">{here.path}</code>. <a href="#/">Go to the overview</a>
          </p>
        </>
      )
  }
}

function Header({ here }: { here: Route }) {
  const open = (useCell(pipelines) ?? []).reduce((sum, each) => sum + (each.dead_letters_open ?? 0), 0)
  const links = [
    { href: '#/', text: 'Overview', current: here.view === 'overview' || here.view === 'pipeline' },
    { href: '#/dead-letters', text: 'Dead letters', current: here.view === 'dead letters', count: open },
    { href: '#/live', text: 'Live', current: here.view === 'live' },
    { href: '#/tasks', text: 'Tasks', current: here.view === 'tasks' },
    { href: '#/results', text: 'Results', current: here.view === 'results' },
  ]
  return (
    <header class="head">
      <a class="brand" href="#/" aria-label="Millrace, overview">
        <svg viewBox="0 0 24 16" aria-hidden="true">
          <path d="M2 5c3.3 0 3.3 2.6 6.6 2.6S11.9 5 15.2 5s3.3 2.6 6.6 2.6" />
          <path d="M2 11c3.3 0 3.3 2.6 6.6 2.6s3.3-2.6 6.6-2.6 3.3 2.6 6.6 2.6" />
        </svg>
        Millrace
      </a>
      <nav aria-label="Views">
        {links.map(({ href, text, current, count }) => (
          <a key={href} href={href} aria-current={current ? 'page' : undefined}>
            {text}
            {count !== undefined && count > 0 && (
              <span class="count" title={`${counted(count, 'dead letter')} open`}>
                {count > 9999 ? '9,999+' : count.toLocaleString('en')}
              </span>
            )}
          </a>
        ))}
      </nav>
      <ConnectionSign />
      <ThemeSwitch />
    </header>
  )
}

function ConnectionSign() {
  const now = useCell(connection)
  const words = { connecting: 'Connecting', open: 'Live', waiting: 'Waiting', refused: 'No token', resting: 'Resting' }
  return (
    <span class={`sign sign-${now.is}`} role="status">
      <span class="dot" aria-hidden="true" />
      <span class="sign-word">{words[now.is]}</span>
    </span>
  )
}

function ThemeSwitch() {
  const chosen = useCell(theme)
  const words = { system: 'Auto', light: 'Light', dark: 'Dark' }
  return (
    <fieldset class="switch">
      <legend class="unseen">Colours</legend>
      {themes.map((name) => (
        <label key={name} title={name === 'system' ? 'As the system says' : `${words[name]} colours`}>
          <input type="radio" name="theme" checked={chosen === name} onChange={() => chooseTheme(name)} />
          <span>{words[name]}</span>
        </label>
      ))}
    </fieldset>
  )
}

function ConnectionBanner() {
  const now = useCell(connection)
  switch (now.is) {
    case 'waiting':
      return <Waiting since={now.since} nextAt={now.nextAt} why={now.why} />
    case 'refused':
      return (
        <div class="banner" role="alert">
          <p>
            <strong>{sentence(now.why)}</strong> Without it there is nothing to show.
          </p>
          <button type="button" class="button" onClick={() => tokenWanted.set(now.why)}>
            Give a token
          </button>
        </div>
      )
    case 'connecting':
    case 'open':
    case 'resting':
      return null
  }
}

function Waiting({ since, nextAt, why }: { since: number; nextAt: number; why: string }) {
  const now = useNow()
  const heard = useCell(heardAt)
  // A restart takes a moment: what lasts no longer than a blink needs no words.
  const seconds = Math.max(0, Math.ceil((nextAt - now) / 1000))
  return (
    <div class="banner" role="alert">
      <p>
        <strong>{sentence(why)}</strong> This page goes on by itself when it is back
        {now - since >= 3000 && `; it has been waiting for ${duration(now - since)}`}.
        {heard !== undefined && ` What you see is from ${clockTime(new Date(heard).toISOString(), now)}.`}
      </p>
      <span class="banner-next">{seconds === 0 ? 'Trying now' : `Next try in ${seconds} s`}</span>
      <button type="button" class="button" onClick={tryNow}>
        Try now
      </button>
    </div>
  )
}

function placeOf(here: Route): string {
  return here.view === 'pipeline' ? `${here.view} ${here.pipeline}` : here.view
}

function titleOf(here: Route): string {
  switch (here.view) {
    case 'overview':
      return 'Overview'
    case 'pipeline':
      return here.pipeline
    case 'dead letters':
      return 'Dead letters'
    case 'live':
      return 'Live'
    case 'tasks':
      return 'Tasks'
    case 'results':
      return 'Results'
    case 'nowhere':
      return 'Nothing here'
  }
}

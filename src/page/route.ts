/** Where in the page one is. It stands behind the # of the address, so that it can be kept, sent and gone back to. */
import { cell } from './cell.ts'

export type Route =
  | { view: 'overview' }
  | { view: 'pipeline'; pipeline: string; section: Section; query: URLSearchParams }
  | { view: 'dead letters'; query: URLSearchParams }
  | { view: 'live'; query: URLSearchParams }
  | { view: 'tasks' }
  | { view: 'results'; system: string | undefined; of: string | undefined; query: URLSearchParams }
  | { view: 'nowhere'; path: string }

export const sections = ['steps', 'time', 'late', 'batches', 'books', 'files', 'plan'] as const
export type Section = (typeof sections)[number]

export const route = cell<Route>(routeOf(location.hash))

window.addEventListener('hashchange', () => route.set(routeOf(location.hash)))

export function routeOf(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2)
  const words = path
    .split('/')
    .filter((word) => word !== '')
    .map(decoded)
  const [first, second, third] = words
  if (first === undefined) return { view: 'overview' }
  if (first === 'pipelines' && second !== undefined) {
    const section = sections.find((name) => name === (third ?? 'steps'))
    if (section !== undefined) {
      return { view: 'pipeline', pipeline: second, section, query: new URLSearchParams(query) }
    }
  }
  if (first === 'dead-letters') return { view: 'dead letters', query: new URLSearchParams(query) }
  if (first === 'live') return { view: 'live', query: new URLSearchParams(query) }
  if (first === 'tasks') return { view: 'tasks' }
  if (first === 'results') return { view: 'results', system: second, of: third, query: new URLSearchParams(query) }
  return { view: 'nowhere', path }
}

export function pipelineHref(pipeline: string, section: Section = 'steps'): string {
  const base = `#/pipelines/${encodeURIComponent(pipeline)}`
  return section === 'steps' ? base : `${base}/${section}`
}

export function deadLettersHref(query: Record<string, string | number | undefined>): string {
  return hrefWith('#/dead-letters', query)
}

/** A page of one thing of a system. */
export function viewHref(system: string, view: string, query: Record<string, string | number | undefined>): string {
  return hrefWith(`#/results/${encodeURIComponent(system)}/${encodeURIComponent(view)}`, query)
}

export function hrefWith(path: string, query: Record<string, string | number | undefined>): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined || value === '' ? [] : [[name, String(value)]],
  )
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`
}

/** Goes there without a new entry in the history: a choice within a view. */
export function replaceRoute(href: string): void {
  history.replaceState(null, '', href)
  route.set(routeOf(location.hash))
}

function decoded(word: string): string {
  try {
    return decodeURIComponent(word)
  } catch {
    return word
  }
}

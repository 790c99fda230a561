/** Asks the server, and turns whatever goes wrong into a problem that can be shown. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { cell, useCell } from './cell.ts'

export interface Problem {
  /** 0 when there was no answer at all. */
  status: number
  code: string
  detail: string
  hint?: string
}

export class Refused extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail)
    this.problem = problem
  }
}

/** Why a token is asked for, or nothing when none is. */
export const tokenWanted = cell<string | undefined>(undefined)

/** Rises when answers may be out of date at once: the server has come back, or a token was given. */
export const generation = cell(0)

const tokenKey = 'millrace-token'

export function giveToken(token: string): void {
  sessionStorage.setItem(tokenKey, token)
  tokenWanted.set(undefined)
  generation.set(generation.get() + 1)
}

export function hasToken(): boolean {
  return sessionStorage.getItem(tokenKey) !== null
}

export function headersWithToken(headers: Record<string, string>): Record<string, string> {
  const token = sessionStorage.getItem(tokenKey)
  return token === null ? headers : { ...headers, authorization: `Bearer ${token}` }
}

export async function ask<T>(
  path: string,
  request: { method?: string; body?: unknown; signal?: AbortSignal } = {},
): Promise<T> {
  const { method = 'GET', body, signal } = request
  const response = await fetch(path, {
    method,
    headers: headersWithToken({
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((error: unknown) => {
    if (signal?.aborted === true) throw error
    throw new Refused({ status: 0, code: 'NO_ANSWER', detail: 'The server does not answer.' })
  })
  if (!response.ok) throw new Refused(await problemOf(response))
  // the page and the server come from one commit, whose tests hold these shapes
  return (await response.json()) as T
}

/** What the server says is wrong. A token that is missing or too weak is asked for. */
export async function problemOf(response: Response): Promise<Problem> {
  const said: unknown = await response.json().catch(() => undefined)
  const text = (name: string): string | undefined => {
    const value: unknown = typeof said === 'object' && said !== null ? Reflect.get(said, name) : undefined
    return typeof value === 'string' ? value : undefined
  }
  const hint = text('hint')
  const problem: Problem = {
    status: response.status,
    code: text('code') ?? `HTTP_${response.status}`,
    detail: text('detail') ?? `The server answered ${response.status}.`,
    ...(hint === undefined ? {} : { hint }),
  }
  if (response.status === 401 || response.status === 403) tokenWanted.set(problem.detail)
  return problem
}

/** Saves what a path answers as a file; a link cannot carry a token. */
export async function download(path: string, name: string): Promise<void> {
  const response = await fetch(path, { headers: headersWithToken({}) })
  if (!response.ok) throw new Refused(await problemOf(response))
  const link = document.createElement('a')
  link.href = URL.createObjectURL(await response.blob())
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}

/** Shows the text that a path answers in a tab of its own; a link cannot carry a token. */
export async function showText(path: string): Promise<void> {
  // before anything is waited for: browsers stop a tab that opens later
  const tab = window.open('')
  const response = await fetch(path, { headers: headersWithToken({}) }).catch(() => undefined)
  if (response?.ok === true) {
    const shown = new Blob([await response.text()], { type: 'text/plain; charset=utf-8' })
    tab?.location.replace(URL.createObjectURL(shown))
    return
  }
  tab?.close()
  if (response !== undefined) await problemOf(response)
}

export function problemFrom(error: unknown): Problem {
  if (error instanceof Refused) return error.problem
  return { status: 0, code: 'FAILED', detail: error instanceof Error ? error.message : String(error) }
}

/** Asks again after a while when that may help: nothing answered, or the server was not ready. */
export function useRetry(problem: Problem | undefined, again: () => void): void {
  const helps = problem?.status === 0 || problem?.status === 503
  useEffect(() => {
    if (!helps) return
    const timer = setTimeout(again, retryMs)
    return () => clearTimeout(timer)
  }, [problem])
}

const retryMs = 3000

export interface Answer<T> {
  answer: T | undefined
  problem: Problem | undefined
  again(): void
}

/** The answer at a path; the last one stays while a newer is fetched, and goes when the path is another. */
export function useAnswer<T>(path: string | undefined): Answer<T> {
  const [shown, show] = useState<{ path: string | undefined; answer?: T; problem?: Problem }>({ path })
  const turn = useCell(generation)
  const [asked, setAsked] = useState(0)
  const latest = useRef(path)
  latest.current = path
  useEffect(() => {
    if (path === undefined) return
    const stop = new AbortController()
    ask<T>(path, { signal: stop.signal }).then(
      (answer) => show({ path, answer }),
      (error: unknown) => {
        if (stop.signal.aborted) return
        const problem = problemFrom(error)
        show((before) =>
          before.path === path && before.answer !== undefined ? { ...before, problem } : { path, problem },
        )
      },
    )
    return () => stop.abort()
  }, [path, turn, asked])
  const again = useCallback(() => setAsked((count) => count + 1), [])
  const current = shown.path === path ? shown : undefined
  useRetry(current?.problem, again)
  return { answer: current?.answer, problem: current?.problem, again }
}

export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined || value === '' ? [] : [[name, String(value)]],
  )
  return given.length === 0 ? path : `${path}${path.includes('?') ? '&' : '?'}${new URLSearchParams(given)}`
}

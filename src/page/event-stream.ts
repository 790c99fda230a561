/** Server-sent events over fetch: unlike EventSource it can carry a token, and says when it will try again. */
import { headersWithToken, problemOf } from './api.ts'

export type Connection =
  | { is: 'connecting' }
  | { is: 'open' }
  | { is: 'waiting'; since: number; nextAt: number; why: string }
  /** Asked in vain: a token is missing, and asking again would not help. */
  | { is: 'refused'; why: string }
  | { is: 'resting' }

export interface ServerEvent {
  event: string
  data: string
}

interface StreamOptions {
  path(): string
  onEvent(event: ServerEvent): void
  onConnection(connection: Connection): void
}

export interface EventStream {
  /** Connects anew at once: the path has changed, or there is reason to hope. */
  restart(): void
  rest(): void
}

const delaysMs = [500, 1000, 2000, 3000]
// The server says that it is there every 15 s: a connection so quiet has been lost without a word.
const quietMs = 40_000

export function openEventStream({ path, onEvent, onConnection }: StreamOptions): EventStream {
  let stop = new AbortController()
  let lastId: string | undefined
  let lastPath: string | undefined

  async function follow(signal: AbortSignal): Promise<void> {
    let tries = 0
    let since: number | undefined
    onConnection({ is: 'connecting' })
    while (!signal.aborted) {
      const { why, refused } = await read(signal, () => {
        tries = 0
        since = undefined
        onConnection({ is: 'open' })
      })
      if (signal.aborted) return
      if (refused) {
        onConnection({ is: 'refused', why })
        return
      }
      const delay = delaysMs[Math.min(tries++, delaysMs.length - 1)] ?? 0
      since ??= Date.now()
      onConnection({ is: 'waiting', since, nextAt: Date.now() + delay, why })
      await pause(delay, signal)
    }
  }

  // Answers why it ended.
  async function read(signal: AbortSignal, opened: () => void): Promise<{ why: string; refused: boolean }> {
    const quiet = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const heard = (): void => {
      clearTimeout(timer)
      timer = setTimeout(() => quiet.abort(), quietMs)
    }
    try {
      heard()
      const at = path()
      if (at !== lastPath) lastId = undefined
      lastPath = at
      const response = await fetch(at, {
        headers: headersWithToken({
          accept: 'text/event-stream',
          ...(lastId === undefined ? {} : { 'last-event-id': lastId }),
        }),
        cache: 'no-store',
        signal: AbortSignal.any([signal, quiet.signal]),
      })
      if (!response.ok || response.body === null) {
        const { status, detail } = await problemOf(response)
        return { why: detail, refused: status === 401 || status === 403 }
      }
      opened()
      for await (const block of blocksOf(response.body)) {
        heard()
        const { id, event, data } = parsed(block)
        if (id !== undefined) lastId = id
        if (data !== undefined) onEvent({ event, data })
      }
      return { why: 'The server has closed the connection.', refused: false }
    } catch {
      // fetch tells no more than that it failed; an abort is told by its signal
      return { why: 'The server does not answer.', refused: false }
    } finally {
      clearTimeout(timer)
    }
  }

  const start = (): void => {
    stop.abort()
    stop = new AbortController()
    void follow(stop.signal)
  }
  start()
  return {
    restart: start,
    rest() {
      stop.abort()
      onConnection({ is: 'resting' })
    },
  }
}

async function* blocksOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = ''
  for await (const part of body.pipeThrough(new TextDecoderStream())) {
    rest = (rest + part).replaceAll('\r\n', '\n')
    const blocks = rest.split('\n\n')
    rest = blocks.pop() ?? ''
    yield* blocks
  }
}

export function parsed(block: string): { id?: string; event: string; data?: string } {
  let id: string | undefined
  let event = 'message'
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':')
    if (colon === 0) continue
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'id') id = value
    if (field === 'event') event = value
    if (field === 'data') data.push(value)
  }
  return { event, ...(id === undefined ? {} : { id }), ...(data.length === 0 ? {} : { data: data.join('\n') }) }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

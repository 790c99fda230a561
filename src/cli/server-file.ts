/** How processes of one data directory find its server, and ask it what only the workers themselves know. */
import { readFileSync, rmSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { WorkerState } from '../engine/progress.ts'
import { MillraceError } from '../errors.ts'

export interface ServerAddress {
  pid: number
  host: string
  port: number
  /** For other processes of this user, where the server asks for tokens. */
  token?: string
}

/** What the server says of a pipeline: all that status needs of it. */
export interface ServedPipeline {
  pipeline: string
  state: WorkerState | null
  retries: number
}

export async function writeServerFile(dataDirectory: string, address: ServerAddress): Promise<void> {
  const path = fileIn(dataDirectory)
  await writeFile(`${path}.${process.pid}`, `${JSON.stringify(address)}\n`, { mode: 0o600 })
  await rename(`${path}.${process.pid}`, path)
}

/** Takes the file away, unless another server has written its own meanwhile. */
export function removeServerFile(dataDirectory: string): void {
  if (readServerFile(dataDirectory)?.pid === process.pid) rmSync(fileIn(dataDirectory), { force: true })
}

/** The server of this data directory, if its process lives. */
export function findServer(dataDirectory: string): ServerAddress | undefined {
  const written = readServerFile(dataDirectory)
  return written !== undefined && isAlive(written.pid) ? written : undefined
}

/** What the server's workers do; undefined when it does not answer in time. */
export async function askServer(address: ServerAddress, waitMs = 2000): Promise<ServedPipeline[] | undefined> {
  const answer = await getJson(`${urlOf(address)}/api/pipelines`, waitMs, address.token)
  if (typeof answer !== 'object' || answer === null || !('pipelines' in answer)) return undefined
  // as: it is our own server, of this data directory
  return Array.isArray(answer.pipelines) ? (answer.pipelines as ServedPipeline[]) : undefined
}

/** Appends lines of JSON to a topic of the server, and waits while it takes no more. Errors: what the server answers. */
export async function postLines(address: ServerAddress, topic: string, lines: string): Promise<void> {
  for (;;) {
    const { status, retryAfterSeconds, body } = await post(address, `/api/topics/${encodeURIComponent(topic)}`, lines)
    if (status < 300) return
    if (status !== 503) {
      throw new MillraceError('NOT_PUBLISHED', {
        at: `topic ${topic}`,
        message: `the server answered ${status}: ${body}`,
      })
    }
    await sleep(1000 * retryAfterSeconds)
  }
}

interface Answer {
  status: number
  retryAfterSeconds: number
  body: string
}

function post({ token, ...address }: ServerAddress, path: string, lines: string): Promise<Answer> {
  const headers = {
    'content-type': 'application/x-ndjson',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  return new Promise((resolve, reject) => {
    const asked = request(`${urlOf(address)}${path}`, { method: 'POST', agent: false, headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        const retryAfterSeconds = Number(response.headers['retry-after'] ?? 1) || 1
        resolve({ status: response.statusCode ?? 0, retryAfterSeconds, body: Buffer.concat(parts).toString() })
      })
    })
    asked.on('error', reject)
    asked.end(lines)
  })
}

export function urlOf({ host, port }: { host: string; port: number }): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // it is there, and somebody else's
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

// Not fetch: its pool keeps the process alive for a while, and this is asked by commands that should end.
function getJson(url: string, waitMs: number, token: string | undefined): Promise<unknown> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return new Promise((resolve) => {
    const asked = request(url, { agent: false, headers, signal: AbortSignal.timeout(waitMs) }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (part) => {
        body += part
      })
      response.on('end', () => resolve(parsed(body)))
      response.on('error', () => resolve(undefined))
    })
    asked.on('error', () => resolve(undefined))
    asked.end()
  })
}

function readServerFile(dataDirectory: string): ServerAddress | undefined {
  const found = parsed(textOf(fileIn(dataDirectory)))
  if (typeof found !== 'object' || found === null || !('pid' in found) || !('host' in found) || !('port' in found))
    return
  const { pid, host, port } = found
  const token = 'token' in found && typeof found.token === 'string' ? { token: found.token } : {}
  if (typeof pid === 'number' && typeof host === 'string' && typeof port === 'number')
    return { pid, host, port, ...token }
  return undefined
}

// Empty when there is none.
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function fileIn(dataDirectory: string): string {
  return join(dataDirectory, 'server.json')
}

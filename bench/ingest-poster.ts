/**
 * Posts the same bytes over and over, one request after another on each of many connections, and prints how it went:
 * `ingest-poster.ts <port> <connections> <seconds> <kind>`. A process of its own, with as little work a request as can be,
 * since it takes the processor that the server needs.
 */
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { percentile } from './report.ts'

const [port = 0, connections = 0, seconds = 0] = process.argv.slice(2, 5).map(Number)
const kind = process.argv[5] ?? ''
const warmUpMs = 2000
const perArray = 1000

/** About 150 bytes, as chat is. */
function event(n: number): string {
  const at = new Date(1_767_225_600_000 + n).toISOString()
  return `{"stream_id":"stream_${n % 50}","user_id":"user_${n % 5000}","username":"name ${n}","message":"how did he do that, number ${n}","timestamp":"${at}"}`
}

const array = Array.from({ length: perArray }, (_, n) => event(n))
const path = '/api/topics/telemetra.events.chat'

let keys = 0
let logs = 0

/** Ten events of each job of Spark: its start, eight tasks, its end. No two posters of a round have the same jobs. */
function jobEvent(): string {
  const n = logs++
  const job = ((process.pid * 10_007) % 20_000) * 100_000 + Math.floor(n / 10)
  const place = n % 10
  const at = `"job_id":${job},"timestamp":"${new Date(1_767_225_600_000 + n * 100).toISOString()}"`
  if (place === 0) return `{"event":"SparkListenerJobStart",${at},"user":"user ${job % 100}"}`
  if (place === 9) return `{"event":"SparkListenerJobEnd",${at},"job_result":"JobSucceeded"}`
  return `{"event":"SparkListenerTaskEnd",${at},"task_id":"task_${place}","duration_ms":${4000 + place},"successful":true}`
}

const requests: Record<string, { events: number; bytes(): Buffer }> = {
  health: { events: 0, bytes: same(Buffer.from('GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n')) },
  one: { events: 1, bytes: same(posted(event(7))) },
  'one with a key': {
    events: 1,
    bytes: () => posted(event(7), `idempotency-key: ${process.pid}-${keys++}\r\n`),
  },
  array: { events: perArray, bytes: same(posted(`[${array.join(',')}]`)) },
  'lines, gzip': {
    events: perArray,
    bytes: same(posted(gzipSync(array.join('\n')), 'content-encoding: gzip\r\n', 'application/x-ndjson')),
  },
  'job log': { events: 1, bytes: () => posted(jobEvent(), '', 'application/json', '/logs/ingest') },
  'job log, wait=0': { events: 1, bytes: () => posted(jobEvent(), '', 'application/json', '/logs/ingest?wait=0') },
}

function same(bytes: Buffer): () => Buffer {
  return () => bytes
}

function posted(body: string | Buffer, headers = '', type = 'application/json', to = path): Buffer {
  const bytes = Buffer.from(body as string)
  const head = `POST ${to} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}\r\n${headers}content-length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), bytes])
}

const request = requests[kind]
if (request === undefined) throw new Error(`"${kind}" is none of ${Object.keys(requests).join(', ')}`)
const began = performance.now()
const until = began + warmUpMs + 1000 * seconds
const took: number[] = []
let answered = 0
await Promise.all(Array.from({ length: connections }, onePoster))
const result = {
  perSecond: took.length / seconds,
  events: answered * request.events,
  p50: percentile(took, 0.5),
  p99: percentile(took, 0.99),
  most: took.reduce((a, b) => Math.max(a, b), 0),
}
process.stdout.write(`${JSON.stringify(result)}\n`)

function onePoster(): Promise<void> {
  return new Promise((resolve, reject) => {
    let sentAt = 0
    connectAnew()

    // a server answers so many requests on a connection, and says with the last that it closes it
    function connectAnew(): void {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      let rest = ''
      let isLast = false
      const send = (): void => {
        sentAt = performance.now()
        socket.write(request?.bytes() ?? '')
      }
      socket.on('connect', send)
      socket.on('data', (part) => {
        rest += part.toString('latin1')
        const head = rest.indexOf('\r\n\r\n')
        if (head < 0) return
        const length = Number(/content-length: (\d+)/i.exec(rest)?.[1] ?? 0)
        if (rest.length < head + 4 + length) return
        if (!/^HTTP\/1\.1 20[012]/.test(rest)) return reject(new Error(rest))
        isLast = /^connection: close/im.test(rest.slice(0, head))
        rest = ''
        answered++
        const now = performance.now()
        if (sentAt - began > warmUpMs && now < until) took.push(now - sentAt)
        if (now < until) {
          if (isLast) socket.end()
          else send()
          return
        }
        socket.end()
        resolve()
      })
      socket.on('error', reject)
      socket.on('close', () => {
        if (isLast) connectAnew()
        else reject(new Error('the server hung up'))
      })
    }
  })
}

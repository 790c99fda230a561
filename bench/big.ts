/** One large file of JSON lines: memory stays where it is, and time grows with the bytes. */
import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { lastJson, startCommand } from './command.ts'
import { query, startPostgres } from './postgres.ts'
import { highWaterMark, Peak } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const rowBytes = 1000

export async function benchBig(options: { root: string; gigabytes: number; signal: AbortSignal }): Promise<void> {
  const { root, gigabytes, signal } = options
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  const rows = (gigabytes * 1e9) / rowBytes
  const file = await bigFile(join(here, '.cache'), gigabytes, rows)
  try {
    await using postgres = await startPostgres(room, signal)
    const url = await postgres.fresh()
    const args = [join(root, 'src/cli/main.ts'), 'run', join(here, 'pipelines/wide.ts'), '--input', file, '--json']
    const env = { DATABASE_URL: url, MILLRACE_DATA: join(room, 'data') }
    const started = performance.now()
    await using running = startCommand({ program: process.execPath, args, env, signal })
    using memory = new Peak(() => highWaterMark(running.pid))
    const books = lastJson<{ rows_in: number; written: number }>(await running.ended)
    const seconds = (performance.now() - started) / 1000
    if (books.written !== rows) throw new Error(`${books.written} of ${rows} rows were written`)
    const tenths = await secondsByTenth(url)
    const megabytes = gigabytes * 1000
    printTable(
      ['', 'seconds', 'MB/s', 'rows/s', 'memory MB'],
      [
        [
          'the whole file',
          seconds.toFixed(1),
          (megabytes / seconds).toFixed(0),
          (rows / seconds).toFixed(0),
          memory.most.toFixed(0),
        ],
        ...tenths.map((each, i) => [`tenth ${i + 1}`, each.toFixed(1), (megabytes / 10 / each).toFixed(0), '', '']),
      ],
    )
    const slowing = median(tenths.slice(-3)) / median(tenths.slice(0, 3))
    process.stdout.write(
      `\nthe last three tenths take ${slowing.toFixed(2)} times as long as the first three; memory goal: at most 600 MB\n`,
    )
    await saveResult(here, `big-${gigabytes}`, {
      machine: machine(),
      seconds,
      rows,
      memoryMb: memory.most,
      tenths,
      slowing,
    })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

async function bigFile(cache: string, gigabytes: number, rows: number): Promise<string> {
  await mkdir(cache, { recursive: true })
  const path = join(cache, `wide-${gigabytes}.jsonl`)
  if ((await stat(path).catch(() => undefined)) !== undefined) return path
  await pipeline(Readable.from(lines(rows)), createWriteStream(`${path}.making`, { highWaterMark: 8 << 20 }))
  await rename(`${path}.making`, path)
  return path
}

// Each line has `rowBytes` bytes, its end included; most of it is what the pipeline does not name.
function* lines(rows: number): Generator<string> {
  const block = 10_000
  for (let first = 0; first < rows; first += block) {
    const made: string[] = []
    for (let i = first; i < Math.min(rows, first + block); i++) {
      const at = new Date(Date.UTC(2026, 0, 1) + i).toISOString()
      const known = `{"id":${i},"user_id":"user-${i % 10_007}","amount":${(i % 99_991) / 100},"at":"${at}","tags":["a","b"],"note":"`
      made.push(`${known}${'lorem ipsum '.repeat(100).slice(0, rowBytes - known.length - 3)}"}\n`)
    }
    yield made.join('')
  }
}

// How long each tenth of the rows took, by the ledger.
async function secondsByTenth(url: string): Promise<number[]> {
  const found = await query<{ tenth: number; ended: string }>(
    url,
    `with summed as (
       select committed_at, sum(rows_in) over (order by batch) as upto, sum(rows_in) over () as total
       from   millrace.batches where pipeline = 'wide' and rows_in > 0)
     select least(9, floor((upto - 1) * 10 / total))::int as tenth, extract(epoch from max(committed_at)) as ended
     from   summed group by 1 order by 1`,
  )
  const [start] = await query<{ at: string }>(
    url,
    `select extract(epoch from min(started_at)) as at from millrace.batches`,
  )
  return found.map(({ ended }, i) => Number(ended) - Number(i === 0 ? start?.at : found[i - 1]?.ended))
}

/**
 * Sample data takes the road of a user's own files: written in `temp/`, and moved into the watched folder when whole, as
 * many and as often as was asked.
 */
import { link, mkdir, mkdtemp, open, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { GeneratedFile, GenerateRequest, GenerateSummary } from 'millrace'
import { atOnce, type Clock, type Portion, portions, systemClock } from './sample-pace.ts'

const fileEveryMs = 500

export interface Samples {
  pipeline: string
  /** The variable that names the system's folder. */
  folder: string
  /** The watched folder in it. */
  into: string
  /** What the files' names begin with. */
  name: string
  /** The header of a file; without columns there is none. */
  columns: string[]
  open(request: GenerateRequest): Promise<Rows>
}

export interface Rows {
  next(portion: Portion): { text: string; events: number; bad: number; duplicates: number }
}

/** Writes the files asked for, until their number, the duration or the signal ends it. */
export async function writeSamples(
  samples: Samples,
  request: GenerateRequest,
  clock = systemClock,
): Promise<GenerateSummary> {
  const rows = await samples.open(request)
  const files =
    request.to === undefined ? droppedFiles(samples, request, rows, clock) : oneFile(request.to, samples, request, rows)
  const summary: GenerateSummary = { events: 0, bad: 0, duplicates: 0, files: 0 }
  for await (const file of files) {
    summary.events += file.events
    summary.bad += file.bad
    summary.duplicates += file.duplicates
    summary.files += 1
    await request.onFile(file)
  }
  return summary
}

// Where the rows go

async function* droppedFiles(
  samples: Samples,
  request: GenerateRequest,
  rows: Rows,
  clock: Clock,
): AsyncGenerator<GeneratedFile> {
  const folder = String(request.settings[samples.folder])
  const watched = join(folder, samples.into)
  const temp = join(folder, 'temp')
  await mkdir(watched, { recursive: true })
  await mkdir(temp, { recursive: true })
  const desk = await mkdtemp(join(temp, 'run-'))
  try {
    let sequence = 0
    for await (const portion of portions(samples.pipeline, request, { clock, everyMs: fileEveryMs })) {
      const { text, ...counts } = rows.next(portion)
      const time = new Date(portion.firstMs).toISOString().replace(/[-:.]/g, '')
      const name = `${samples.name}_${time}_${String(sequence).padStart(6, '0')}`
      const written = join(desk, `${name}.csv`)
      const bytes = await write(written, [headerOf(samples), text])
      yield { path: await publish(written, watched, name), ...counts, bytes }
      sequence++
    }
  } finally {
    await rm(desk, { recursive: true, force: true })
  }
}

// A link is refused where the name is taken; a rename would replace what another generator has dropped there.
async function publish(written: string, folder: string, name: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const path = join(folder, attempt === 1 ? `${name}.csv` : `${name}_${attempt}.csv`)
    try {
      await link(written, path)
      await unlink(written)
      return path
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
  }
}

async function* oneFile(
  path: string,
  samples: Samples,
  request: GenerateRequest,
  rows: Rows,
): AsyncGenerator<GeneratedFile> {
  const written = join(dirname(path), `.${basename(path)}.${process.pid}`)
  const counts = { events: 0, bad: 0, duplicates: 0 }
  function* texts() {
    yield headerOf(samples)
    for (const portion of atOnce(samples.pipeline, request)) {
      const { text, events, bad, duplicates } = rows.next(portion)
      counts.events += events
      counts.bad += bad
      counts.duplicates += duplicates
      yield text
    }
  }
  await mkdir(dirname(path), { recursive: true })
  try {
    const bytes = await write(written, texts())
    if (request.signal.aborted) return
    await rename(written, path)
    yield { path, ...counts, bytes }
  } finally {
    await rm(written, { force: true })
  }
}

function headerOf({ columns }: Samples): string {
  return columns.length === 0 ? '' : `${columns.join(',')}\n`
}

async function write(path: string, texts: Iterable<string>): Promise<number> {
  let bytes = 0
  await using file = await open(path, 'w')
  for (const text of texts) {
    await file.appendFile(text)
    bytes += Buffer.byteLength(text)
  }
  // A file whose times were set back is complete when it appears: nobody has to wait and see whether it still grows.
  const aSecondAgo = Date.now() / 1000 - 1
  await file.utimes(aSecondAgo, aSecondAgo)
  return bytes
}

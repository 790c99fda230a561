/** The logs that are committed, by the name of their application, and what they say when they lie there plain. */
import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { unpacked } from '../../pipelines/spark-logs/event-logs/unpack.ts'
import { rowsOf } from './rows.ts'
import { openWorld, type Row, samples } from './world.ts'

/** Samples by the name of their application, as `make.py` calls it. */
export const named = await nameSamples()

async function nameSamples(): Promise<Record<string, { file: string; id: string; lines: string[] }>> {
  const found: Record<string, { file: string; id: string; lines: string[] }> = {}
  for (const file of await readdir(samples)) {
    const inside = (await readdir(join(samples, file)).catch(() => [file])).filter(
      (name) => !name.startsWith('appstatus'),
    )
    const paths = inside.map((name) => (name === file ? join(samples, file) : join(samples, file, name))).sort()
    const lines: string[] = []
    for (const path of paths) lines.push(...(await linesIn(path)))
    const start = lines.map((line) => JSON.parse(line) as Row).find((event) => event['App Name'] !== undefined)
    found[String(start?.['App Name'])] = { file, id: String(start?.['App ID']), lines }
  }
  return found
}

async function linesIn(path: string): Promise<string[]> {
  const codec = path.includes('.zstd') ? 'zstd' : path.includes('.lz4') ? 'lz4' : 'plain'
  const bytes = (await readFile(path)).length
  let text = ''
  for await (const chunk of unpacked({ path, codec, bytes, from: 0 })) text += chunk.toString('latin1')
  return Buffer.from(text, 'latin1').toString('utf8').split('\n').filter(Boolean)
}

export function sample(name: string): { file: string; id: string; lines: string[] } {
  const found = named[name]
  assert.ok(found !== undefined, `there is no sample ${name}`)
  return found
}

export const text = (lines: string[]): string => lines.map((line) => `${line}\n`).join('')

/** What a log says when its lines lie in one plain file. */
export async function plainly(lines: string[], id: string, without?: string[]): Promise<Record<string, Row[]>> {
  await using world = await openWorld()
  await writeFile(join(world.logs, id), text(lines))
  await world.follow()
  return await rowsOf(world, id, without)
}

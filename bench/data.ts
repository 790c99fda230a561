/** Events for the benches: the same rows for the same seed, in CSV files, with the right answer beside them. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export const header = 'event_id,user_id,event_type,product_id,price,event_timestamp\n'

/** What a table must hold after the events are landed, each event_id once, the first row of it. */
export interface Expected {
  rows: number
  invalid: number
  duplicates: number
  landed: number
  /** Sums of the first and of the last 24 bits of the ids: two sets of ids with the same sums are the same set. */
  idHeads: number
  idTails: number
  /** The sum of the prices, which tells the first row of an id from its repeats. */
  cents: number
}

export interface Dataset {
  /** The folder with the files to read. */
  raw: string
  /** The rows that must land, in one file: what a peer that need not look for bad rows may read. */
  clean: string
  expected: Expected
}

const files = 100
const version = 1
const block = 100
const start = Date.UTC(2026, 0, 1)

/**
 * Events in 100 files. In every block of 100 rows two are invalid, in one of four ways, and one repeats an earlier
 * event_id. They are made once, then read from the cache.
 */
export async function dataset(cache: string, rows: number, seed = 42): Promise<Dataset> {
  if (rows % (files * block) !== 0) throw new Error(`--rows must be a multiple of ${files * block}`)
  const folder = join(cache, `events-${rows}-${seed}-v${version}`)
  const found = { raw: join(folder, 'raw'), clean: join(folder, 'clean.csv') }
  const known = await readFile(join(folder, 'expected.json'), 'utf8').catch(() => undefined)
  // as: this file wrote it
  if (known !== undefined) return { ...found, expected: JSON.parse(known) as Expected }

  const making = `${folder}.making`
  await rm(making, { recursive: true, force: true })
  await rm(folder, { recursive: true, force: true })
  await mkdir(join(making, 'raw'), { recursive: true })
  const expected = await writeFiles(making, rows, seed)
  await writeFile(join(making, 'expected.json'), JSON.stringify(expected))
  await rename(making, folder)
  return { ...found, expected }
}

async function writeFiles(folder: string, rows: number, seed: number): Promise<Expected> {
  const expected: Expected = { rows, invalid: 0, duplicates: 0, landed: 0, idHeads: 0, idTails: 0, cents: 0 }
  const clean = join(folder, 'clean.csv')
  await writeFile(clean, header)
  const perFile = rows / files
  for (let file = 0; file < files; file++) {
    const all: string[] = [header]
    const good: string[] = []
    for (let first = file * perFile; first < (file + 1) * perFile; first += block) {
      for (const row of blockOfRows(seed, first)) {
        const line = lineOf(row)
        all.push(line)
        if (row.is === 'invalid') expected.invalid++
        else if (row.is === 'repeat') expected.duplicates++
        else {
          good.push(line)
          expected.landed++
          expected.idHeads += Number.parseInt(row.id.slice(0, 6), 16)
          expected.idTails += Number.parseInt(row.id.slice(-6), 16)
          expected.cents += row.cents
        }
      }
    }
    const name = `events-${String(file).padStart(4, '0')}.csv`
    await writeFile(join(folder, 'raw', name), Buffer.from(all.join(''), 'latin1'))
    await writeFile(clean, Buffer.from(good.join(''), 'latin1'), { flag: 'a' })
  }
  return expected
}

export interface Row {
  is: 'good' | 'repeat' | 'invalid'
  id: string
  user: number
  type: string
  product: number
  cents: number
  /** As written in the file; an invalid row may carry anything. */
  price: string
  time: string
}

function* blockOfRows(seed: number, first: number): Generator<Row> {
  const [bad, worse, repeat] = oddOnes(seed, first)
  for (let i = first; i < first + block; i++) {
    const row = goodRow(seed, i)
    const place = i - first
    if (place === bad || place === worse) yield spoiled(row, number(seed, i, 9) % 4)
    else if (place === repeat && first > 0) yield { ...row, is: 'repeat', id: earlierId(seed, i) }
    else yield row
  }
}

/** The places in a block of its two invalid rows and its repeat. */
function oddOnes(seed: number, first: number): [number, number, number] {
  const places: number[] = []
  for (let draw = 0; places.length < 3; draw++) {
    const place = number(seed, first, 100 + draw) % block
    if (!places.includes(place)) places.push(place)
  }
  // as: three were drawn
  return places as [number, number, number]
}

/** The id of a good row in a block before that of row i. */
function earlierId(seed: number, i: number): string {
  const first = (number(seed, i, 10) % Math.floor(i / block)) * block
  const odd = oddOnes(seed, first)
  let place = number(seed, i, 11) % block
  while (odd.includes(place)) place = (place + 1) % block
  return idOf(seed, first + place)
}

export function goodRow(seed: number, i: number, time = start + i * 1000 + (number(seed, i, 8) % 1000)): Row {
  const drawn = number(seed, i, 4) % 10
  const cents = 100 + (number(seed, i, 7) % 99_900)
  return {
    is: 'good',
    id: idOf(seed, i),
    user: 1 + (number(seed, i, 5) % 50_000),
    type: drawn < 7 ? 'view' : drawn < 9 ? 'add_to_cart' : 'purchase',
    product: 1 + (number(seed, i, 6) % 5_000),
    cents,
    price: (cents / 100).toFixed(2),
    time: new Date(time).toISOString(),
  }
}

function spoiled(row: Row, how: number): Row {
  const invalid = { ...row, is: 'invalid' as const }
  if (how === 0) return { ...invalid, price: `-${row.price}` }
  if (how === 1) return { ...invalid, type: 'refund' }
  if (how === 2) return { ...invalid, id: '' }
  return { ...invalid, time: 'not-a-date' }
}

export function lineOf(row: Row): string {
  return `${row.id},u${row.user},${row.type},p${row.product},${row.price},${row.time}\n`
}

/** A random-looking UUID; its first word is a bijection of i, so no two rows have the same. */
function idOf(seed: number, i: number): string {
  const [a, b, c, d] = [
    hex(number(seed, i, 0)),
    hex(number(seed, i, 1)),
    hex(number(seed, i, 2)),
    hex(number(seed, i, 3)),
  ]
  return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-a${c.slice(1, 4)}-${c.slice(4)}${d}`
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0')
}

/** A number below 2^32 that depends on the seed, the row and which of the row's numbers it is. */
function number(seed: number, i: number, which: number): number {
  return scramble((Math.imul(i, 0x9e3779b1) + scramble((seed + Math.imul(which + 1, 0x85ebca6b)) | 0)) | 0)
}

/** MurmurHash3's last step. */
function scramble(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

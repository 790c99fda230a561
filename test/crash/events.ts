/**
 * Files of shop events for the crash tests, and what must come of them, worked out in the plainest way from the same
 * rows: nothing here knows of batches, so it holds whatever the cut and whatever died in between.
 */

export interface InputFile {
  name: string
  header: string[]
  rows: string[][]
  pack?: (text: string) => Buffer
}

export interface Expected {
  /** By event_id: the other columns as text. */
  events: Record<string, string[]>
  /** `file:line code` */
  deadLetters: string[]
  books: { rowsIn: number; written: number; duplicates: number; dead: number; filesQuarantined: number }
  /** By file: its state, and the rows read of it. */
  files: Record<string, { state: 'done' | 'quarantined'; rows: number }>
}

export const columns = ['event_id', 'user_id', 'event_type', 'product_id', 'price', 'event_timestamp']

/** One event: `user` tells which of several rows of one event_id has won. */
export function event(id: string, user: string, changes: Partial<Record<string, string>> = {}): string[] {
  const row: Record<string, string> = {
    event_id: id,
    user_id: user,
    event_type: 'view',
    product_id: 'p-1',
    price: '19.90',
    event_timestamp: '2026-02-03T04:05:06.789Z',
  }
  return columns.map((column) => changes[column] ?? row[column] ?? '')
}

/** A file of good rows. */
export function goodFile(name: string, ids: string[]): InputFile {
  return { name, header: columns, rows: ids.map((id) => event(id, name)) }
}

/**
 * Two waves of files, in the order in which they must be read: good rows, bad rows of every kind, repeats within a file,
 * across files and across waves, a file without rows, one that cannot be read, and one that takes several batches.
 */
export const firstWave: InputFile[] = [
  {
    name: 'a-mixed.csv',
    header: columns.toReversed(),
    rows: [
      event('a1', 'first'),
      event('a2', 'first', { price: '12.345' }),
      event('a1', 'repeats a row of this file'),
      event('', 'has no id'),
      event('a3', 'with a "quote",\nand a line end'),
      event('a4', 'first', { event_type: 'refund' }),
      event('a2', 'its first row was dead'),
      event('a5', 'first', { event_timestamp: 'yesterday' }),
      event('a6', 'first', { event_timestamp: '2026-02-03T04:05:06+02:00' }),
    ].map((row) => row.toReversed()),
  },
  { name: 'b-wrong-header.csv', header: ['event_id', 'customer', 'amount'], rows: [['b1', 'nobody', '1']] },
  { name: 'c-empty.csv', header: columns, rows: [] },
  goodFile('d-good.csv', ['d1', 'd2', 'a1', 'd3', 'd4', 'd5', 'd6']),
  {
    // rows so long that the file is read in several portions
    name: 'e-large.csv',
    header: columns,
    rows: [
      ...Array.from({ length: 12 }, (_, i) => event(`e${i}`, 'large', { product_id: `${i}-`.repeat(40_000) })),
      event('e3', 'repeats a row of an earlier batch'),
      event('e12', 'large', { price: '-1' }),
      ...Array.from({ length: 12 }, (_, i) => event(`e${i + 13}`, 'large', { product_id: `${i}-`.repeat(40_000) })),
    ],
  },
]

export const secondWave: InputFile[] = [
  {
    name: 'f-mixed.csv',
    header: columns,
    rows: [
      event('f1', 'first', { price: 'free' }),
      event('a1', 'repeats a row of the first wave'),
      event('f2', 'first').slice(0, 4),
      [...event('f3', 'first'), 'one too many'],
      event('f4', 'first', { price: '' }),
      event('k'.repeat(3000), 'has a key too long'),
      event('f5', 'first', { price: '0', event_type: 'purchase' }),
      event('f5', 'repeats a row of this file'),
    ],
  },
  goodFile('g-good.csv', ['g1', 'g2', 'g3', 'g4', 'g5', 'g6']),
  { name: 'h-wrong-header.csv', header: columns.slice(1), rows: [event('h1', 'nobody').slice(1)] },
  goodFile('i-good.csv', ['i1', 'i2', 'i3', 'd3', 'g6', 'i4']),
]

export function bytesOf({ header, rows, pack = Buffer.from }: InputFile): Buffer {
  return pack([header, ...rows].map((row) => `${row.map(csvField).join(',')}\n`).join(''))
}

/** What must be there once these files have been read in this order, whatever happened on the way. */
export function modelOf(files: InputFile[]): Expected {
  const expected: Expected = {
    events: {},
    deadLetters: [],
    books: { rowsIn: 0, written: 0, duplicates: 0, dead: 0, filesQuarantined: 0 },
    files: {},
  }
  for (const { name, header, rows } of files) {
    if (header.toSorted().join() !== columns.toSorted().join()) {
      expected.books.filesQuarantined++
      expected.files[name] = { state: 'quarantined', rows: 0 }
      continue
    }
    expected.files[name] = { state: 'done', rows: rows.length }
    let line = 2
    for (const fields of rows) {
      expected.books.rowsIn++
      const row = Object.fromEntries(fields.map((field, i) => [header[i] ?? '', field]))
      const trouble = fields.length === columns.length ? troubleOf(row) : wrongNumberOfFields(fields)
      const id = row['event_id'] ?? ''
      if (trouble !== undefined) {
        expected.books.dead++
        expected.deadLetters.push(`${name}:${line} ${trouble}`)
      } else if (Object.hasOwn(expected.events, id)) {
        expected.books.duplicates++
      } else {
        expected.books.written++
        expected.events[id] = landed(row)
      }
      line += fields.join('').split('\n').length
    }
  }
  expected.deadLetters.sort()
  return expected
}

function wrongNumberOfFields(fields: string[]): string {
  return fields.length < columns.length ? 'TOO_FEW_FIELDS' : 'TOO_MANY_FIELDS'
}

// The first rule a row breaks, for the kinds of trouble that the files above have.
function troubleOf(row: Record<string, string>): string | undefined {
  const price = row['price'] ?? ''
  if (row['event_id'] === '') return 'EMPTY'
  if (!['view', 'add_to_cart', 'purchase'].includes(row['event_type'] ?? '')) return 'NOT_ONE_OF'
  if (price === '') return 'MISSING'
  if (Number.isNaN(Number(price))) return 'NOT_A_NUMBER'
  if ((price.split('.')[1] ?? '').length > 2) return 'TOO_MANY_DECIMALS'
  if (Number(price) < 0) return 'BELOW_MINIMUM'
  if (Number.isNaN(Date.parse(row['event_timestamp'] ?? ''))) return 'NOT_A_TIMESTAMP'
  if ((row['event_id'] ?? '').length > 2600) return 'KEY_TOO_LONG'
  return undefined
}

function landed(row: Record<string, string>): string[] {
  return [
    row['user_id'] ?? '',
    row['event_type'] ?? '',
    row['product_id'] ?? '',
    Number(row['price']).toFixed(2),
    new Date(row['event_timestamp'] ?? '').toISOString(),
  ]
}

function csvField(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value
}

/**
 * Files that cost: too large to be committed, made here. Run by itself with the name of a group, it runs the group and
 * prints what became of its files, and the most memory it ever had: the test runs it so, in a process of its own.
 */
import { createWriteStream } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { type Case, type Outcome, outcomesOf, shortened } from './corpus.ts'
import type { Format } from './formats.ts'

interface Costly {
  name: string
  shows: string
  make(): Case['make']
  /** Made only by the process that compares: the other one is measured. */
  expected(): Outcome
}

export interface Group {
  format: Format
  memoryLimitMb: number
  cases: Costly[]
}

const MiB = 1024 * 1024
type Letter = NonNullable<Outcome['dead']>[number]

/** A text many times over. */
interface Many {
  of: string | Buffer
  times: number
}

const xs = (times: number): Many => ({ of: 'x', times })

// Written piece by piece, so that what is measured is the reader.
function write(...parts: (string | Buffer | Many)[]): (path: string) => Promise<void> {
  const bytes = function* (): Generator<Buffer> {
    for (const part of parts) {
      const { of, times } = typeof part === 'string' || Buffer.isBuffer(part) ? { of: part, times: 1 } : part
      const one = Buffer.from(of)
      const some = Buffer.concat(Array.from({ length: Math.min(times, Math.ceil(MiB / one.length)) }, () => one))
      for (let left = times * one.length; left > 0; left -= some.length) yield some.subarray(0, left)
    }
  }
  return async (path) => await pipeline(Readable.from(bytes()), createWriteStream(path))
}

// What a dead letter keeps of a malformed row: its first 64 KiB.
function malformed(line: number, code: string, says: string, row: (string | Many)[]): Letter {
  const parts = row.map((part) => (typeof part === 'string' ? { of: part, times: 1 } : part))
  const bytes = parts.reduce((sum, { of, times }) => sum + of.length * times, 0)
  const text = parts.map(({ of, times }) => String(of).repeat(Math.min(times, 65_536))).join('')
  return { line, code, says, raw: shortened(`${text.slice(0, 65_536)} [cut: the first 65536 of ${bytes} bytes]`) }
}

const tooLong = (line: number, ...row: (string | Many)[]): Letter =>
  malformed(line, 'ROW_TOO_LONG', 'the row is longer than 32 MiB, or takes more memory than MEMORY_LIMIT allows', row)

const row = (line: number, id: string, more: Record<string, string> = {}): Record<string, string | number> => ({
  line,
  id,
  n: '1',
  ...more,
})

const count = (times: number, each: (i: number) => string): string =>
  Array.from({ length: times }, (_, i) => each(i)).join(',')

const deep = (times: number): [Many, Many] => [
  { of: '[', times },
  { of: ']', times },
]

const [open, close] = deep(100_000)
const x20 = xs(20 * MiB)

const csv: Costly[] = [
  {
    name: 'field-4mb.csv',
    shows: 'a field of 4 MiB lands',
    make: () => write('id,n,note\na,1,', xs(4 * MiB), '\nb,1,y\n'),
    expected: () => ({
      rows: [row(2, 'a', { note: shortened('x'.repeat(4 * MiB)) }), row(3, 'b', { note: 'y' })],
    }),
  },
  {
    name: 'fields-2mb.csv',
    shows: 'fields that fit one by one, and not all together',
    make: () => write('id,n,note\n', ...Array.from({ length: 25 }, (_, i) => [`${i},1,`, xs(2 * MiB), '\n']).flat()),
    expected: () => ({
      rows: Array.from({ length: 25 }, (_, i) => row(i + 2, String(i), { note: shortened('x'.repeat(2 * MiB)) })),
    }),
  },
  {
    name: 'field-20mb-in-a-bad-row.csv',
    shows: 'a bad row of 20 MiB takes more memory than there is',
    make: () => write('id,n,note\na,x,', x20, '\nb,1,y\n'),
    expected: () => ({
      rows: [row(3, 'b', { note: 'y' })],
      dead: [tooLong(2, 'a,x,', x20)],
    }),
  },
  {
    name: 'key-20mb.csv',
    shows: 'so does a key of 20 MiB',
    make: () => write('id,n\n', x20, ',1\nb,1\n'),
    expected: () => ({
      rows: [row(3, 'b')],
      dead: [tooLong(2, x20, ',1')],
    }),
  },
  {
    name: 'row-40mb.csv',
    shows: 'a row of 40 MiB is too long whatever memory there is',
    make: () => write('id,n,note\na,1,', xs(40 * MiB), '\nb,1,y\n'),
    expected: () => ({
      rows: [row(3, 'b', { note: 'y' })],
      dead: [tooLong(2, 'a,1,', xs(40 * MiB))],
    }),
  },
  {
    name: 'million-columns.csv',
    shows: 'a header of a million names',
    make: () => write(`id,n,${count(1_000_000, (i) => `c${i}`)}\na,1\n`),
    expected: () => ({
      quarantined: { code: 'TOO_MANY_COLUMNS', says: 'the header names more than 10,000 columns' },
    }),
  },
  {
    name: 'million-fields.csv',
    shows: 'a row of a million fields',
    make: () => write('id,n\na,1', { of: ',', times: 1_000_000 }, '\nb,1\n'),
    expected: () => ({
      rows: [row(3, 'b')],
      dead: [
        malformed(2, 'TOO_MANY_FIELDS', 'the row has more fields than there are columns', [
          'a,1',
          { of: ',', times: 1_000_000 },
        ]),
      ],
    }),
  },
  {
    name: 'million-quotes.csv',
    shows: 'a field of nothing but quotes',
    make: () => write('id,n,note\na,1,"', { of: '""', times: 1_000_000 }, '"\nb,1,y\n'),
    expected: () => ({
      rows: [row(2, 'a', { note: shortened('"'.repeat(1_000_000)) }), row(3, 'b', { note: 'y' })],
    }),
  },
  {
    name: 'empty-lines-20mb.csv',
    shows: 'twenty million empty lines',
    make: () => write('id,n\n', { of: '\n', times: 20 * MiB }, 'a,1\n'),
    expected: () => ({
      rows: [row(20 * MiB + 2, 'a')],
    }),
  },
  {
    name: 'cr-20mb.csv',
    shows: 'nothing but CR',
    make: () => write({ of: '\r', times: 20 * MiB }),
    expected: () => ({
      quarantined: { code: 'CR_LINE_ENDS', says: 'its lines end with CR alone; they must end with LF or CRLF' },
    }),
  },
  {
    name: 'nested-100000.csv',
    shows: 'JSON nested 100,000 deep, in a field',
    make: () => write('id,n,doc\na,1,', open, close, '\nb,1,1\n'),
    expected: () => ({
      rows: [row(2, 'a', { doc: shortened('['.repeat(100_000) + ']'.repeat(100_000)) }), row(3, 'b', { doc: '1' })],
    }),
  },
  ...(['gz', 'zst'] as const).flatMap((packing): Costly[] => {
    const pack = packing === 'gz' ? gzipSync : zstdCompressSync
    // of several members, so that they are made in little memory
    const zeros = (): Buffer => pack(Buffer.alloc(4 * MiB))
    return [
      {
        name: `bomb.csv.${packing}`,
        shows: `a bomb of 260 MiB of zeros, packed as ${packing}`,
        make: () => write({ of: zeros(), times: 65 }),
        expected: () => ({
          quarantined: {
            code: 'UNPACKS_TOO_LARGE',
            says: `it unpacks to more than 256 MiB from ${65 * zeros().length} bytes`,
          },
        }),
      },
      {
        name: `bomb-of-one-line.csv.${packing}`,
        shows: `a line of 64 MiB, packed as ${packing}`,
        make: () =>
          write(pack('id,n,note\na,1,'), { of: pack(Buffer.alloc(4 * MiB, 'x')), times: 16 }, pack('\nb,1,y\n')),
        expected: () => ({
          rows: [row(3, 'b', { note: 'y' })],
          dead: [tooLong(2, 'a,1,', xs(64 * MiB))],
        }),
      },
    ]
  }),
]

const json: Costly[] = [
  {
    name: 'nested-100000.jsonl',
    shows: 'JSON nested 100,000 deep, in a column and in a key that nobody named',
    make: () =>
      write('{"id":"a","n":1,"doc":', open, close, '}\n{"id":"b","n":1,"z":', open, close, '}\n{"id":"c","n":1}\n'),
    expected: () => ({
      rows: [row(3, 'c')],
      dead: [
        malformed(1, 'TOO_DEEP', 'the JSON is nested deeper than 500 levels', [
          '{"id":"a","n":1,"doc":',
          open,
          close,
          '}',
        ]),
        malformed(2, 'TOO_DEEP', 'the JSON is nested deeper than 500 levels', [
          '{"id":"b","n":1,"z":',
          open,
          close,
          '}',
        ]),
      ],
    }),
  },
  {
    name: 'million-keys.jsonl',
    shows: 'a line of a million keys that nobody named',
    make: () => write(`{"id":"a","n":1,${count(1_000_000, (i) => `"k${i}":1`)}}\n{"id":"b","n":1}\n`),
    expected: () => ({
      rows: [row(1, 'a'), row(2, 'b')],
    }),
  },
  {
    name: 'key-20mb.jsonl',
    shows: 'a key of 20 MiB that nobody named',
    make: () => write('{"id":"a","n":1,"', x20, '":1}\n{"id":"b","n":1}\n'),
    expected: () => ({
      rows: [row(1, 'a'), row(2, 'b')],
    }),
  },
  {
    name: 'text-20mb-in-a-bad-row.jsonl',
    shows: 'a bad row of 20 MiB takes more memory than there is',
    make: () => write('{"id":"a","n":"x","note":"', x20, '"}\n{"id":"b","n":1}\n'),
    expected: () => ({
      rows: [row(2, 'b')],
      dead: [tooLong(1, '{"id":"a","n":"x","note":"', x20, '"}')],
    }),
  },
  {
    name: 'line-40mb.jsonl',
    shows: 'a line of 40 MiB is too long whatever memory there is',
    make: () => write('{"id":"a","n":1,"note":"', xs(40 * MiB), '"}\n{"id":"b","n":1}\n'),
    expected: () => ({
      rows: [row(2, 'b')],
      dead: [tooLong(1, '{"id":"a","n":1,"note":"', xs(40 * MiB), '"}')],
    }),
  },
  {
    name: 'array-20mb.jsonl',
    shows: 'an array of 20 MiB in place of lines',
    make: () => write('[', { of: '{"id":"a","n":1},', times: 1_200_000 }, '{"id":"b","n":1}]'),
    expected: () => ({
      quarantined: {
        code: 'NOT_JSON_LINES',
        says: "the file is one JSON document, and JSON lines has an object to a line; of a list, jq -c '.[]' makes them",
      },
    }),
  },
]

const wide: Costly[] = [
  {
    name: '9000-columns.csv',
    shows: 'so many columns to be kept that not even one row fits',
    make: () =>
      write(
        `id,n,${count(9000, (i) => `c${i}`)}\n`,
        ...Array.from({ length: 3 }, () => `a,1,${count(9000, String)}\n`),
      ),
    expected: () => ({
      quarantined: {
        code: 'NEEDS_MORE_MEMORY',
        says: 'one of its rows, though not a long one, takes more memory than MEMORY_LIMIT allows; raise that',
      },
    }),
  },
]

const kept: Costly[] = [
  {
    name: 'million-keys.jsonl',
    shows: 'a million keys to be kept take more memory than there is',
    make: () => write(`{"id":"a","n":1,${count(1_000_000, (i) => `"k${i}":1`)}}\n{"id":"b","n":1}\n`),
    expected: () => ({
      rows: [row(2, 'b')],
      dead: [tooLong(1, `{"id":"a","n":1,${count(1_000_000, (i) => `"k${i}":1`)}}`)],
    }),
  },
]

const roomy: Costly[] = [
  {
    name: 'field-20mb.csv',
    shows: 'with more memory a field of 20 MiB lands, and a bad row of it has its own reason',
    make: () => write('id,n,note\na,1,', x20, '\nb,x,', x20, '\n'),
    expected: () => ({
      rows: [row(2, 'a', { note: shortened('x'.repeat(20 * MiB)) })],
      dead: [
        {
          line: 3,
          code: 'NOT_AN_INTEGER',
          column: 'n',
          says: '"x" is not a whole number',
          raw: shortened(`b,x,${'x'.repeat(20 * MiB)}`),
        },
      ],
    }),
  },
]

const parquet: Costly[] = [
  {
    name: 'one-text-a-thousand-times.parquet',
    shows: 'a file of some kilobytes that holds 100 MB of texts',
    make: () => (path) => copyFile(join(import.meta.dirname, 'costly', 'one-text-a-thousand-times.parquet'), path),
    expected: () => ({
      rows: Array.from({ length: 1000 }, (_, i) => row(i + 1, String(i), { note: shortened('x'.repeat(100_000)) })),
    }),
  },
]

export const groups: Record<string, Group> = {
  csv: { format: 'csv', memoryLimitMb: 96, cases: csv },
  'csv with more memory': { format: 'csv', memoryLimitMb: 512, cases: roomy },
  'csv, kept': { format: 'csv-kept', memoryLimitMb: 96, cases: wide },
  json: { format: 'json', memoryLimitMb: 96, cases: json },
  'json, kept': { format: 'json-kept', memoryLimitMb: 96, cases: kept },
  parquet: { format: 'parquet', memoryLimitMb: 96, cases: parquet },
}

if (import.meta.main) {
  const group = groups[process.argv[2] ?? '']
  if (group === undefined) throw new Error(`the groups are ${Object.keys(groups).join(', ')}`)
  // as large as batches are where nothing else is set
  const cases = group.cases.map(({ name, shows, make }) => ({ name, shows, make: make() }))
  const found = await outcomesOf({ ...group, cases, road: 'a watched folder', limits: { rows: 200_000, bytes: 64e6 } })
  const mostMiB = Math.round(process.resourceUsage().maxRSS / 1024)
  process.stdout.write(JSON.stringify({ found: Object.fromEntries(found), mostMiB }))
}

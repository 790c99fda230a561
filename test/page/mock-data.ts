/** What a busy server would tell, made from a seed: the page is developed and tested against it. */
import type {
  Batch,
  Chart,
  LateRow,
  Letter,
  Pipeline,
  PipelineDetails,
  SourceFile,
  SystemView,
} from '../../src/page/types.ts'
import { hostileTexts } from './hostile-texts.ts'

export type Random = () => number

/** mulberry32: the same seed gives the same data. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export const shopColumns = [
  { name: 'event_id', type: 'text', nullable: false },
  { name: 'user_id', type: 'text', nullable: false },
  { name: 'event_type', type: 'text', nullable: false },
  { name: 'product_id', type: 'text', nullable: false },
  { name: 'price', type: 'decimal(12,2)', nullable: false },
  { name: 'event_timestamp', type: 'timestamp', nullable: false },
]

const meanings: Record<string, string> = {
  MISSING: 'A column that must have a value has none.',
  EMPTY: 'A text that must not be empty is empty.',
  NOT_ONE_OF: 'The value is not one of those that the column allows.',
  NOT_A_NUMBER: 'The text is not a number in plain digits.',
  BELOW_MINIMUM: 'The number is below the smallest that the column allows.',
  NOT_A_TIMESTAMP: 'The text is not a date and time that the calendar knows.',
  WRONG_FIELD_COUNT: 'The row has more or fewer fields than the header of its file.',
}

const verdictCodes = Object.keys(meanings)

const columnsOf = shopColumns.map(({ name }) => name)

/** Newest first, as the API answers them; the hostile ones are the newest. */
export function makeLetters(random: Random, count: number, now: number): Letter[] {
  const letters: Letter[] = []
  for (let id = count + hostileTexts.length; id > 0; id--) {
    const hostile = id > count ? hostileTexts[id - count - 1] : undefined
    letters.push(makeLetter(random, id, now - (count + hostileTexts.length - id) * 1400, hostile))
  }
  return letters
}

export function makeLetter(random: Random, id: number, at: number, hostile?: string): Letter {
  const code =
    hostile === undefined ? (verdictCodes[Math.floor(random() * verdictCodes.length)] ?? 'EMPTY') : 'NOT_ONE_OF'
  const fields: Record<string, string | null> = {
    event_id: `e-${(id * 7919).toString(36)}`,
    user_id: `user-${1 + Math.floor(random() * 4000)}`,
    event_type: ['view', 'add_to_cart', 'purchase'][Math.floor(random() * 3)] ?? 'view',
    product_id: `sku-${100 + Math.floor(random() * 900)}`,
    price: (random() * 200).toFixed(2),
    event_timestamp: new Date(at - Math.floor(random() * 60_000)).toISOString(),
  }
  const { column, value, message } = spoiled(code, random, hostile)
  if (column !== null) fields[column] = value
  const told = code !== 'WRONG_FIELD_COUNT'
  const texts = columnsOf.map((name) => csvText(fields[name] ?? ''))
  const raw = told ? texts.join(',') : texts.slice(0, 4).join(',')
  const index = column === null ? -1 : columnsOf.indexOf(column)
  const start = index <= 0 ? 0 : texts.slice(0, index).join(',').length + 1
  return {
    id,
    pipeline: id % 9 === 0 ? 'user-activity' : 'shop-events',
    batch: 1 + Math.floor(id / 40),
    source: 'files',
    place: `shop-events/raw/till-${1 + (id % 12)}-${new Date(at).toISOString().slice(0, 16).replaceAll(/[-:T]/g, '')}.csv`,
    line: 2 + Math.floor(random() * 5000),
    stage: told ? 'validate' : 'read',
    code,
    column,
    message,
    raw,
    raw_cut: false,
    fields: told ? fields : null,
    fault: column === null ? null : { start, end: start + (texts[index] ?? '').length },
    rejected_at: new Date(at).toISOString(),
    settled: null,
    settled_at: null,
    settled_by: null,
    meaning: meanings[code] ?? '',
    columns: columnsOf,
  }
}

function spoiled(
  code: string,
  random: Random,
  hostile: string | undefined,
): { column: string | null; value: string | null; message: string } {
  if (hostile !== undefined) {
    return {
      column: 'event_type',
      value: hostile,
      message: `event_type: "${hostile}" is not one of view, add_to_cart, purchase`,
    }
  }
  switch (code) {
    case 'MISSING':
      return { column: 'user_id', value: null, message: 'user_id: the value is missing' }
    case 'EMPTY':
      return { column: 'product_id', value: '', message: 'product_id: the text is empty' }
    case 'NOT_ONE_OF': {
      const value = random() < 0.5 ? 'veiw' : 'refund'
      return {
        column: 'event_type',
        value,
        message: `event_type: "${value}" is not one of view, add_to_cart, purchase`,
      }
    }
    case 'NOT_A_NUMBER':
      return { column: 'price', value: '12,90', message: 'price: "12,90" is not a number in plain digits' }
    case 'BELOW_MINIMUM': {
      const value = (-random() * 50).toFixed(2)
      return { column: 'price', value, message: `price: "${value}" is below 0` }
    }
    case 'NOT_A_TIMESTAMP':
      return {
        column: 'event_timestamp',
        value: '2026-02-30T10:00:00Z',
        message: 'event_timestamp: "2026-02-30T10:00:00Z" is not a day of the calendar',
      }
    default:
      return { column: null, value: null, message: 'the row has 4 fields and the header 6' }
  }
}

function csvText(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

export function makePipelines(openShop: number, openUser: number, now: number): Pipeline[] {
  const books = { written: 4_182_340, filtered: 0, duplicates: 83_112, late: 0, dead: openShop }
  const rows = Object.values(books).reduce((sum, each) => sum + each, 0)
  return [
    {
      pipeline: 'shop-events',
      says: 'E-commerce events from CSV files into the table user_events, each event_id once.',
      state: { is: 'running', owner: 'till-host:4102' },
      advice: null,
      owner: 'till-host:4102',
      lent_by: null,
      doing: null,
      epoch: 7,
      batch: 1042,
      last_committed_at: new Date(now - 400).toISOString(),
      books: { rows_in: rows, ...books },
      rows_per_second: 18_240,
      lag: { files_waiting: 3, files_claimed: 1, rows: 32_000, rows_estimated: true, why: null, seconds: 2.4 },
      event_time: false,
      watermark: null,
      watermark_closed: false,
      state_rows: 0,
      files_quarantined: 2,
      dead_letters_open: openShop,
      late_rows: 0,
      outbox_rows: null,
      publisher: null,
      retries: 3,
      archiver: { is: 'running' },
    },
    {
      pipeline: 'user-activity',
      says: 'User activity from a topic into the table user_activity, sessions by minute.',
      state: { is: 'retrying', why: 'Postgres does not answer on 127.0.0.1:5433', tries: 4, next_in_ms: 6000 },
      advice:
        'Start Postgres, or look at DATABASE_URL: nothing is lost, and it goes on by itself when the database is back.',
      owner: 'till-host:4102',
      lent_by: null,
      doing: 'on Spark, writing user_activity, 3 of 8 stages, 12 of 64 tasks, 1,235 MB read',
      epoch: 3,
      batch: 388,
      last_committed_at: new Date(now - 96_000).toISOString(),
      books: { rows_in: 912_407, written: 880_120, filtered: 30_012, duplicates: 0, late: 1_124, dead: 1_151 },
      rows_per_second: 0,
      lag: { files_waiting: 0, files_claimed: 0, rows: 128_400, rows_estimated: false, why: null, seconds: null },
      event_time: true,
      watermark: new Date(now - 108_000).toISOString(),
      watermark_closed: false,
      state_rows: 18_240,
      files_quarantined: 0,
      dead_letters_open: openUser,
      late_rows: 1_124,
      outbox_rows: 2_400,
      publisher: { is: 'held up', waiting: 2_400, why: 'BROKER_UNREACHABLE: no broker answers' },
      retries: 4,
      archiver: null,
    },
  ]
}

export function makeBatch(random: Random, batch: number, committedAt: number): Batch {
  const rowsIn = 4000 + Math.floor(random() * 16_000)
  const dead = Math.floor(random() * random() * 40)
  const duplicates = Math.floor(rowsIn * 0.02 * random())
  const written = rowsIn - dead - duplicates
  const phase = (typical: number): number => Math.round(typical * (0.5 + random()) * 10) / 10
  const phases = {
    list: phase(3),
    cut: phase(30),
    read: phase(38),
    operate: phase(24),
    keys: phase(12),
    print: phase(16),
    letters: phase(dead > 10 ? 14 : 2),
    books: phase(2),
    land: phase(90),
  }
  const total = Object.values(phases).reduce((sum, each) => sum + each, 0)
  return {
    batch,
    epoch: batch > 600 ? 7 : 6,
    kind: batch % 97 === 0 ? 'replay' : batch % 61 === 0 ? 'backfill' : 'stream',
    started_at: new Date(committedAt - total).toISOString(),
    committed_at: new Date(committedAt).toISOString(),
    rows_in: rowsIn,
    written,
    filtered: 0,
    duplicates,
    late: 0,
    dead,
    files_quarantined: batch % 211 === 0 ? 1 : 0,
    rows_out: { table: { inserted: written, updated: 0, deleted: 0 } },
    phases_ms: phases,
    ranges: { files: { from: 800 + batch * 2, files: [`till-${batch % 12}-20261121.csv`], rows: rowsIn } },
  }
}

export function makeDetails(pipeline: Pipeline, random: Random): PipelineDetails {
  const rowsIn = pipeline.rows_per_second * 60
  const dead = Math.round(rowsIn * 0.002)
  const windowed = pipeline.pipeline === 'user-activity'
  const validated = rowsIn - dead
  return {
    ...pipeline,
    plan: {
      format: 1,
      name: pipeline.pipeline,
      sources: { files: { is: 'files', folder: `${pipeline.pipeline}/raw` } },
      steps: [],
    },
    hash: 'a9a03f0035ea9b1d',
    source: windowed
      ? [{ id: 'activity', says: 'the topic user.activity', columns: shopColumns }]
      : [{ id: 'files', says: `files of the format csv in data/${pipeline.pipeline}/raw`, columns: shopColumns }],
    steps: [
      {
        id: 'validate',
        op: 'validate',
        from: [windowed ? 'activity' : 'files'],
        says: 'parses 6 columns strictly and checks their rules; a row that fails is a dead letter',
        columns: shopColumns,
        reasons: [
          { code: 'MISSING', column: 'event_id', message: 'the value is missing' },
          { code: 'EMPTY', column: 'product_id', message: 'the text is empty' },
          { code: 'NOT_ONE_OF', column: 'event_type', message: '"{value}" is not one of view, add_to_cart, purchase' },
          { code: 'BELOW_MINIMUM', column: 'price', message: '"{value}" is below 0' },
        ],
        duckdb: [
          `create table "${pipeline.pipeline} n".validate_checked as\nwith parsed as (\n  select\n    * exclude (price, event_timestamp),\n    case when regexp_full_match(price, '[+-]?[0-9]+(\\.[0-9]{1,2})?') then try_cast(price as decimal(12,2)) end as price\n  from "${pipeline.pipeline} n".staged\n)\nselect *\nfrom parsed`,
        ],
        store: [],
        rows_in: rowsIn,
        rows_out: validated,
      },
      ...(windowed
        ? [
            {
              id: 'perMinute',
              op: 'window',
              from: ['validate'],
              says: 'counts events by user and minute; a window closes when the watermark passes it',
              columns: shopColumns.slice(1, 4),
              reasons: [],
              duckdb: ['select user_id, count(*) as events\nfrom validated\ngroup by user_id'],
              store: [],
              rows_in: validated,
              rows_out: Math.round(validated / 14),
            },
          ]
        : []),
      {
        id: 'table',
        op: 'table',
        from: [windowed ? 'perMinute' : 'validate'],
        says: 'adds the first row of each event_id to the table user_events; repeats are duplicates',
        columns: shopColumns,
        reasons: [],
        duckdb: [
          'copy (\n  select event_id, user_id, event_type, product_id, price\n  from "shop-events n"."table"\n  where not _known\n  order by _row\n) to \'<spool>.csv\' (format csv)',
        ],
        store: [
          'insert into user_events (event_id, user_id, event_type, product_id, price, event_timestamp)\nselect event_id, user_id, event_type, product_id, price, event_timestamp\nfrom   pg_temp."stage table"\non conflict (event_id) do nothing',
        ],
        rows_in: windowed ? Math.round(validated / 14) : validated,
        rows_out: windowed ? Math.round(validated / 14) : Math.round(validated * 0.98),
      },
      {
        id: 'folder',
        op: 'folder',
        from: [windowed ? 'perMinute' : 'validate'],
        says: 'writes landed rows as Parquet into processed/, one file a batch',
        columns: shopColumns,
        reasons: [],
        duckdb: [],
        store: [],
        rows_in: windowed ? Math.round(validated / 14) : Math.round(validated * (0.97 + random() * 0.01)),
        rows_out: null,
      },
    ],
    state_bytes: pipeline.state_rows * 164,
    positions: windowed
      ? [0, 70_400, 58_000].map((rows, partition) => ({
          source: 'activity',
          topic: 'user.activity',
          partition: String(partition),
          position: 304_000 + partition * 1021,
          end: 304_000 + partition * 1021 + rows,
          lag_rows: rows,
          watermark:
            pipeline.watermark === null
              ? null
              : new Date(Date.parse(pipeline.watermark) + partition * 2000).toISOString(),
        }))
      : [],
    folders: windowed ? [] : [`data/${pipeline.pipeline}/raw`],
    quarantine: `data/${pipeline.pipeline}/error`,
  }
}

export function makeFiles(random: Random, now: number): SourceFile[] {
  return Array.from({ length: 340 }, (_, index) => {
    const id = 340 - index
    const bad = id === 322 || id === 118
    const size = 200_000 + Math.floor(random() * 900_000)
    const waits = index < 3
    const state = waits ? 'waiting' : index === 3 ? 'claimed' : bad ? 'quarantined' : 'done'
    return {
      id,
      path: `data/shop-events/raw/till-${1 + (id % 12)}-2026112112${String(id % 60).padStart(2, '0')}.csv`,
      size,
      state,
      rows_done: waits || bad ? 0 : Math.floor(size / 110),
      bytes_done: waits || bad ? 0 : size,
      batch: waits || bad ? null : 700 + id,
      code: bad ? 'NOT_UTF8' : null,
      message: bad ? 'the file is not text: it begins like a ZIP archive' : null,
      arrived_at: new Date(now - index * 1700).toISOString(),
    }
  })
}

/** Newest first, as the API answers them; the hostile ones are the newest. */
export function makeLateRows(random: Random, now: number): LateRow[] {
  const texts = [...hostileTexts].reverse()
  return Array.from({ length: 130 }, (_, index) => {
    const at = now - 400_000 - Math.floor(random() * 600_000)
    const text = texts[index] ?? `user-${index}`
    return {
      id: 1124 - index,
      batch: 388 - Math.floor(index / 8),
      step: 'perMinute',
      place: `user.activity/${index % 3}/${304_000 - index}`,
      event_time: new Date(at).toISOString(),
      window_start: new Date(at - (at % 60_000)).toISOString(),
      late_by_ms: index === 0 ? 4000 : 200 + Math.floor(random() * 300_000),
      raw: JSON.stringify({ user_id: text, at: new Date(at).toISOString() }),
      raw_cut: index === 1,
      arrived_at: new Date(now - index * 1300).toISOString(),
    }
  })
}

export const charts: Record<string, Chart[]> = {
  'shop-events': [
    {
      title: 'Funnel',
      says: 'Users who viewed, put into the cart, and bought, in the last 24 hours.',
      route: '/api/results/shop-events/funnel',
      draws: 'funnel',
      x: 'step',
      y: ['users'],
      refresh_seconds: 10,
    },
    {
      title: 'Events per hour',
      says: 'All events by their own time, hour by hour.',
      route: '/api/results/shop-events/per-hour',
      draws: 'bars',
      x: 'hour',
      y: ['events'],
      unit: 'events',
      refresh_seconds: 10,
    },
    {
      title: 'Top products',
      says: 'The ten products that were bought most.',
      route: '/api/results/shop-events/top-products',
      draws: 'bars',
      x: 'product_id',
      y: ['purchases'],
      refresh_seconds: 10,
    },
  ],
  'user-activity': [
    {
      title: 'Events per second',
      says: 'Rows that landed, second by second.',
      route: '/api/results/user-activity/per-second',
      draws: 'line',
      x: 'second',
      y: ['events'],
      unit: 'events/s',
      refresh_seconds: 2,
    },
    {
      title: 'Latency',
      says: 'From the time of the event to the commit; the aim is 5 s.',
      route: '/api/results/user-activity/latency',
      draws: 'line',
      x: 'second',
      y: ['latency_ms'],
      by: 'quantile',
      unit: 'ms',
      limit: { value: 5000, label: 'the aim' },
      marks: { route: '/api/results/user-activity/stalls', x: 'second', label: 'why', says: 'stalls' },
      refresh_seconds: 2,
    },
    {
      title: 'Errors by reason',
      says: 'Dead letters of the last hour.',
      route: '/api/results/user-activity/errors',
      draws: 'table',
      x: 'code',
      y: ['letters', 'last_seen'],
      refresh_seconds: 10,
    },
  ],
}

export const views: Record<string, SystemView[]> = {
  'shop-events': [
    {
      name: 'product',
      title: 'One product',
      says: 'By its number.',
      asks: { product: 'Product', since: 'Since' },
      charts: [
        {
          title: 'Products like it',
          route: '/api/results/shop-events/top-products?limit=10',
          draws: 'table',
          x: 'product_id',
          y: ['purchases'],
          leads: { column: 'product_id', to: 'product', with: { product: 'product_id' } },
          refresh_seconds: 10,
        },
        {
          title: 'Its funnel',
          route: '/api/results/shop-events/funnel',
          draws: 'funnel',
          x: 'step',
          y: ['users'],
          refresh_seconds: 10,
        },
        {
          title: 'Its errors',
          route: '/api/results/shop-events/none',
          draws: 'table',
          x: 'code',
          y: ['errors'],
          refresh_seconds: 10,
        },
      ],
    },
  ],
}

export function makeResults(
  path: string,
  random: Random,
  now: number,
): { columns: { name: string; type: string }[]; rows: Record<string, unknown>[] } | undefined {
  switch (path) {
    case '/api/results/shop-events/none':
      return { columns: [{ name: 'code', type: 'text' }], rows: [] }
    case '/api/results/shop-events/funnel':
      return {
        columns: [
          { name: 'step', type: 'text' },
          { name: 'users', type: 'bigint' },
        ],
        rows: [
          { step: 'view', users: 18_240 },
          { step: 'add_to_cart', users: 6_120 },
          { step: 'purchase', users: 2_044 },
        ],
      }
    case '/api/results/shop-events/per-hour':
      return {
        columns: [
          { name: 'hour', type: 'timestamp' },
          { name: 'events', type: 'bigint' },
        ],
        rows: Array.from({ length: 24 }, (_, i) => ({
          hour: new Date(Math.floor(now / 3_600_000 - 23 + i) * 3_600_000).toISOString(),
          events: Math.round(60_000 + 40_000 * Math.sin((i - 6) / 4) + random() * 9000),
        })),
      }
    case '/api/results/shop-events/top-products':
      return {
        columns: [
          { name: 'product_id', type: 'text' },
          { name: 'purchases', type: 'bigint' },
        ],
        rows: Array.from({ length: 10 }, (_, i) => ({
          product_id: i === 4 ? '<img src=x onerror=window.__pwned=1>' : `sku-${412 + i * 7}`,
          purchases: Math.round(900 / (1 + i * 0.4)),
        })),
      }
    case '/api/results/user-activity/per-second':
      return {
        columns: [
          { name: 'second', type: 'timestamp' },
          { name: 'events', type: 'bigint' },
        ],
        rows: Array.from({ length: 300 }, (_, i) => ({
          second: new Date(Math.floor(now / 1000 - 300 + i) * 1000).toISOString(),
          events: i > 180 && i < 190 ? null : Math.round(3200 + 600 * Math.sin(i / 23) + random() * 500),
        })),
      }
    case '/api/results/user-activity/latency':
      return {
        columns: [
          { name: 'second', type: 'timestamp' },
          { name: 'quantile', type: 'text' },
          { name: 'latency_ms', type: 'double' },
        ],
        rows: Array.from({ length: 300 }, (_, i) => i).flatMap((i) =>
          [
            ['p50', 900],
            ['p95', 2100],
            ['p99', 3300],
          ].map(([quantile, typical]) => ({
            second: new Date(Math.floor(now / 1000 - 300 + i) * 1000).toISOString(),
            quantile,
            latency_ms: Math.round(Number(typical) * (0.8 + 0.4 * random()) + (i > 150 && i < 175 ? 1800 : 0)),
          })),
        ),
      }
    case '/api/results/user-activity/stalls':
      return {
        columns: [
          { name: 'second', type: 'timestamp' },
          { name: 'quantile', type: 'text' },
          { name: 'why', type: 'text' },
        ],
        rows: [60, 160, 240].map((i) => ({
          second: new Date(Math.floor(now / 1000 - 300 + i) * 1000).toISOString(),
          quantile: 'p95',
          why: i === 160 ? '<img src=x onerror=window.__pwned=1>' : 'a full disk',
        })),
      }
    case '/api/results/user-activity/errors':
      return {
        columns: [
          { name: 'code', type: 'text' },
          { name: 'letters', type: 'bigint' },
          { name: 'last_seen', type: 'timestamp' },
        ],
        rows: Object.keys(meanings).map((code, i) => ({
          code,
          letters: 400 - i * 53,
          last_seen: new Date(now - i * 31_000).toISOString(),
        })),
      }
    default:
      return undefined
  }
}

/** Holds what is in tables and folders against the model: nothing lost, nothing double, no effect missing. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type Expected, type InputFile, modelOf } from './events.ts'
import { namesIn, type World } from './world.ts'

interface LedgerRow {
  batch: number
  epoch: number
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
  files_quarantined: number
  inserted: number
}

/** Checks everything that these files must have left, some of them perhaps read where they lie. */
export async function judge(world: World, files: InputFile[], inPlace: InputFile[] = []): Promise<void> {
  const expected = modelOf(files)
  await judgeTables(world, expected)
  const ledger = await judgeBooks(world, expected)
  await judgeQuarantine(world, ledger)
  await judgeFolders(
    world,
    expected,
    inPlace.map(({ name }) => name),
  )
  await judgeMetrics(world, ledger)
}

async function judgeTables(world: World, expected: Expected): Promise<void> {
  const events = await world.sql<{ id: string; row: string[] }>(`
    select event_id as id,
           array[user_id, event_type, product_id, price::text,
                 to_char(event_timestamp at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')] as row
    from   user_events`)
  assert.deepEqual(Object.fromEntries(events.map(({ id, row }) => [id, row])), expected.events, 'the target table')
  assert.equal(events.length, Object.keys(expected.events).length, 'rows of the target table')

  const letters = await world.sql<{ place: string; line: number; code: string }>(
    `select place, line, code from millrace.dead_letters where pipeline = 'shop-events'`,
  )
  assert.deepEqual(
    letters.map(({ place, line, code }) => `${basename(place)}:${line} ${code}`).sort(),
    expected.deadLetters,
    'the dead letters',
  )

  const files = await world.sql<{ path: string; state: string; rows: number }>(
    `select path, state, rows_done as rows from millrace.files where pipeline = 'shop-events'`,
  )
  assert.equal(files.length, Object.keys(expected.files).length, 'each file is there once')
  assert.deepEqual(
    Object.fromEntries(files.map(({ path, state, rows }) => [basename(path), { state, rows }])),
    expected.files,
    'the files',
  )
}

async function judgeBooks(world: World, expected: Expected): Promise<LedgerRow[]> {
  const ledger = await world.sql<LedgerRow>(`
    select batch, epoch, rows_in, written, filtered, duplicates, late, dead, files_quarantined,
           coalesce((select sum((out.value ->> 'inserted')::int) from jsonb_each(rows_out) out), 0)::int as inserted
    from   millrace.batches
    where  pipeline = 'shop-events'
    order by batch`)
  const sum = (of: (line: LedgerRow) => number): number => ledger.reduce((total, line) => total + of(line), 0)
  for (const line of ledger) {
    const verdicts = line.written + line.filtered + line.duplicates + line.late + line.dead
    assert.equal(line.rows_in, verdicts, `batch ${line.batch} balances`)
    assert.equal(line.inserted, line.written, `batch ${line.batch} inserted what it wrote`)
  }
  assert.deepEqual(
    {
      rowsIn: sum((line) => line.rows_in),
      written: sum((line) => line.written),
      duplicates: sum((line) => line.duplicates),
      dead: sum((line) => line.dead),
      filesQuarantined: sum((line) => line.files_quarantined),
    },
    expected.books,
    'the books',
  )
  const batches = ledger.map(({ batch }) => batch)
  assert.deepEqual(
    batches,
    [...batches.keys()].map((i) => i + 1),
    'batches are numbered without a gap',
  )
  const epochs = ledger.map(({ epoch }) => epoch)
  assert.deepEqual(
    epochs,
    epochs.toSorted((a, b) => a - b),
    'epochs only rise',
  )
  const [stored] = await world.sql<{ batch: number }>(
    `select batch from millrace.pipelines where pipeline = 'shop-events'`,
  )
  assert.equal(stored?.batch ?? 0, ledger.length, 'the stored batch is the last of the ledger')
  return ledger
}

// Each batch with dead letters has one file with exactly those, and there is nothing else but the unreadable files.
async function judgeQuarantine(world: World, ledger: LedgerRow[]): Promise<void> {
  const names = await namesIn(world.error)
  const bad = ledger.filter(({ dead }) => dead > 0)
  assert.deepEqual(
    names.filter((name) => /^\d+\.csv$/.test(name)),
    bad.map(({ batch }) => `${batch}.csv`).sort(),
    'quarantine files',
  )
  for (const { batch } of bad) {
    const [header, ...rows] = parseCsv(await readFile(join(world.error, `${batch}.csv`), 'utf8'))
    assert.deepEqual(header, ['row', 'code', 'column', 'reason', 'file', 'line'])
    const letters = await world.sql<{ row: string[] }>(
      `
      select array[raw, code, coalesce(column_name, ''), message, place, coalesce(line::text, '')] as row
      from   millrace.dead_letters
      where  batch = $1`,
      [batch],
    )
    assert.deepEqual(
      rows.sort(),
      letters.map(({ row }) => row).sort(),
      `${batch}.csv holds the dead letters of its batch`,
    )
  }
}

async function judgeFolders(world: World, expected: Expected, inPlace: string[]): Promise<void> {
  const named = (state: string): string[] =>
    Object.keys(expected.files)
      .filter((name) => expected.files[name]?.state === state)
      .sort()
  const quarantined = (await namesIn(world.error)).filter((name) => !/^\d+\.csv$/.test(name))
  // before the file's own name stands the claim, or the batch
  const wholes = quarantined.filter((name) => !name.endsWith('.reason.txt'))
  assert.deepEqual(wholes.map((name) => name.replace(/^(batch-\d+|\w+-\w+-\w+)-/, '')).sort(), named('quarantined'))
  assert.deepEqual(
    quarantined.filter((name) => name.endsWith('.reason.txt')),
    wholes.map((name) => `${name}.reason.txt`).sort(),
  )
  for (const name of wholes) {
    assert.match(await readFile(join(world.error, `${name}.reason.txt`), 'utf8'), /^HEADER_MISMATCH: /)
  }
  assert.deepEqual(await namesIn(world.inputs), inPlace.toSorted(), 'the inputs stay where they are')
  assert.deepEqual(
    await namesIn(join(world.raw, 'done')),
    named('done').filter((name) => !inPlace.includes(name)),
    'files that are done',
  )
  assert.deepEqual(await namesIn(join(world.raw, '.claimed')), [], 'claims')
  assert.deepEqual(
    (await namesIn(world.raw)).filter((name) => name.endsWith('.csv')),
    [],
    'files that wait',
  )
}

async function judgeMetrics(world: World, ledger: LedgerRow[]): Promise<void> {
  const text = await readFile(join(world.data, 'logs/streaming_metrics.log'), 'utf8')
  const lines = text
    .trimEnd()
    .split('\n')
    // as: the log has a line of JSON for each batch; a line that is none of that fails here
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ pipeline }) => pipeline === 'shop-events')
  assert.deepEqual(
    lines.map(({ batch, rows_in, written, duplicates, dead }) => ({ batch, rows_in, written, duplicates, dead })),
    ledger.map(({ batch, rows_in, written, duplicates, dead }) => ({ batch, rows_in, written, duplicates, dead })),
    'one line of metrics for each batch',
  )
}

function parseCsv(text: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n)/g)) {
    row.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
    if (end === '\n') {
      rows.push(row)
      row = []
    }
  }
  return rows
}

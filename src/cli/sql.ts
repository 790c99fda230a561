import { MillraceError } from '../errors.ts'
import { type Client, clientConfig, connect, connectPatiently } from '../store/connection.ts'
import { openDatabase, readConfig, shortWaitMs } from './open.ts'
import { type Answer, readOnly } from './read-only.ts'
import { counted, printable, tableLines, widthsOf } from './text.ts'
import { jsonOption, type Verb } from './verb.ts'

export const sql: Verb = {
  says: 'Runs one select against the database that Millrace uses, read-only.',
  usage: '"<select>" [--json]',
  options: { ...jsonOption },
  examples: [
    'millrace sql "select event_type, count(*) from user_events group by 1"',
    'millrace sql "select * from millrace.batches order by batch desc limit 5" --json',
  ],
  async run({ words, options, signal, out }) {
    const [statement, ...more] = words
    if (statement === undefined || more.length > 0) {
      throw new MillraceError('WRONG_USAGE', {
        message:
          statement === undefined
            ? 'which select?'
            : 'there is more than one statement, or one without quotes around it',
        hint: 'millrace sql "select 1"',
      })
    }
    const { config, log } = readConfig()
    await using database = await openDatabase(config, log)
    const settings = clientConfig(database.url)
    const client = await connectPatiently(settings, {
      waitMs: Math.min(shortWaitMs, config.startupWaitMs),
      onWait: (why) => log.warn('waiting for Postgres', { why }),
      signal,
    })
    const cancel = (): void => {
      void cancelStatement(client, () => connect(settings))
    }
    signal.addEventListener('abort', cancel)
    try {
      if (options['json'] === true) await readOnly(client, statement, 'json', ({ rows }) => printJson(rows, out))
      else await readOnly(client, statement, 'cells', (answer) => printTable(answer, out))
    } finally {
      signal.removeEventListener('abort', cancel)
      await client.end().catch(() => {})
    }
    return 0
  },
}

async function printJson(rows: Answer['rows'], out: (line: string) => void): Promise<void> {
  for await (const some of rows) for (const [row] of some) out(row ?? '{}')
}

// Columns are as wide as the first rows need; the answer may be larger than memory.
async function printTable({ columns, rows }: Answer, out: (line: string) => void): Promise<void> {
  const titles = columns.map(({ name, isNumber }) => ({
    title: printable(name),
    to: isNumber ? ('right' as const) : ('left' as const),
  }))
  let count = 0
  let widths: number[] | undefined
  const print = (some: (string | null)[][]): void => {
    const cells = some.map((row) => row.map((value) => (value === null ? '' : printable(value))))
    const isFirst = widths === undefined
    widths ??= widthsOf(titles, cells)
    const [title = '', ...lines] = tableLines(titles, cells, widths)
    if (isFirst) for (const line of [title, widths.map((width) => '-'.repeat(width)).join('  ')]) out(line)
    for (const line of lines) out(line)
    count += some.length
  }
  for await (const some of rows) print(some)
  if (count === 0) print([])
  out(`(${counted(count, 'row')})`)
}

// A statement is stopped from another connection; this one is busy with it.
async function cancelStatement(client: Client, connectAnew: () => Promise<Client>): Promise<void> {
  const { processID } = client as Client & { processID?: number }
  const other = await connectAnew().catch(() => undefined)
  await other?.query('select pg_cancel_backend($1)', [processID]).catch(() => {})
  await other?.end().catch(() => {})
}

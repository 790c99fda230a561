/** From a sample to rows: `init` as its users meet it, and the commands it prints, typed as they stand there. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtempDisposable, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { type TestDatabase, testDatabase } from './postgres.ts'

const root = dirname(import.meta.dirname)
const main = join(root, 'src', 'cli', 'main.ts')
const database: TestDatabase = await testDatabase()
const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-init-test-'))
after(async () => {
  await database[Symbol.asyncDispose]()
  await folder.remove()
})

// a project that has millrace installed
await mkdir(join(folder.path, 'node_modules'))
await symlink(root, join(folder.path, 'node_modules', 'millrace'))
await writeFile(join(folder.path, 'package.json'), '{ "type": "module" }')

interface Ended {
  code: number
  out: string
  err: string
}

/** Runs a line in a shell, in the project. */
async function typed(line: string): Promise<Ended> {
  const env = {
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    DATABASE_URL: database.url,
    MILLRACE_DATA: join(folder.path, 'data'),
  }
  return await new Promise((resolve) => {
    execFile('sh', ['-c', line], { cwd: folder.path, env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })
}

interface Made {
  pipeline: string
  key: string | null
  columns: { name: string; type: string }[]
  next: { run: string; sql: string; work: string }
}

async function init(options: string): Promise<Made> {
  const { code, out, err } = await typed(`node ${main} init ${options} --json`)
  assert.equal(code, 0, err)
  return JSON.parse(out)
}

async function jsonOf(line: string): Promise<Record<string, unknown>[]> {
  const { code, out, err } = await typed(`${line} --json`)
  assert.equal(code, 0, `${line}\n${err}`)
  return out
    .trimEnd()
    .split('\n')
    .map((row) => JSON.parse(row))
}

const count = 2000

function rowOf(i: number): Record<string, string | number | boolean | undefined> {
  return {
    id: `e-${i}`,
    class: i,
    total: (i * 1.37).toFixed(i % 3),
    zip: `0${1000 + (i % 9)}`,
    paid: i % 2 === 0,
    status: ['new', "it's done", 'lost'][i % 3],
    placed_at: new Date(1_767_225_600_000 + i * 61_001).toISOString(),
    day: '2026-01-31',
    note: i % 10 ? undefined : `line one\n"two"; 'three' \u2028 ${i}`,
    big: `1234567890123456789${i % 10}`,
    ratio: i / 3,
  }
}

function csvOf(delimiter: string): string {
  const lines = Array.from({ length: count }, (_, i) => {
    const fields = Object.values(rowOf(i)).map((value = '') => `"${String(value).replaceAll('"', '""')}"`)
    return fields.join(delimiter)
  })
  return `\uFEFF${Object.keys(rowOf(0)).join(delimiter)}\r\n${lines.join('\r\n')}\r\n`
}

const samples: { file: string; text: () => string }[] = [
  { file: 'semi colons.csv', text: () => csvOf(';') },
  { file: 'tabs.tsv', text: () => csvOf('\t') },
  // more than DuckDB holds in the memory it gets for a few columns
  { file: 'wide.csv', text: () => wideCsv(400, count) },
  {
    file: 'lines.jsonl',
    text: () =>
      Array.from({ length: count }, (_, i) => `${JSON.stringify({ ...rowOf(i), 'not-a-name': i })}\n`).join(''),
  },
]

function wideCsv(columns: number, rows: number): string {
  const names = ['id', ...Array.from({ length: columns - 1 }, (_, i) => `c${i}`)]
  const row = (i: number): string => names.map((_, j) => i * names.length + j).join()
  return `${names}\n${Array.from({ length: rows }, (_, i) => `${row(i)}\n`).join('')}`
}

test('a pipeline made from a sample is accepted by tsc, lands every row, and reads nothing twice', async () => {
  const made: Made[] = []
  for (const { file, text } of samples) {
    await writeFile(join(folder.path, file), text())
    made.push(await init(`--from '${file}'`))
  }
  await writeFile(
    join(folder.path, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { typeRoots: [join(root, 'node_modules', '@types')] },
      include: ['*.ts'],
    }),
  )
  const checked = await typed(`node ${join(root, 'node_modules', 'typescript', 'bin', 'tsc')} -p .`)
  assert.deepEqual(checked, { code: 0, out: '', err: '' })

  for (const { pipeline, key, next } of made) {
    assert.equal(key, 'id')
    const [first] = await jsonOf(next.run)
    assert.deepEqual(
      [first?.['pipeline'], first?.['rows_in'], first?.['written'], first?.['dead'], first?.['files_quarantined']],
      [pipeline, count, count, 0, 0],
    )
    assert.equal((await jsonOf(next.sql)).length, 10)
    const [second] = await jsonOf(next.run)
    assert.equal(second?.['rows_in'], 0)
  }
})

test('the page on it shows what is written, and its commands are those that are printed', async () => {
  const page = readFileSync(join(root, 'docs', 'how-to', 'your-own-pipeline.md'), 'utf8')
  const fence = (language: string): string =>
    new RegExp(`^\`\`\`${language}[^\n]*\n(.*?)^\`\`\``, 'ms').exec(page)?.[1] ?? assert.fail(`no ${language} fence`)
  await writeFile(join(folder.path, 'orders.csv'), fence('csv'))
  const { next } = await init('--from orders.csv')
  assert.equal(await readFile(join(folder.path, 'orders.ts'), 'utf8'), fence('ts'))
  for (const command of Object.values(next)) assert.ok(page.includes(command.replace(/^node \S+/, 'millrace')), command)

  const [ran] = await jsonOf(next.run)
  assert.deepEqual([ran?.['written'], ran?.['dead']], [4, 0])
  const refused = await typed(`node ${main} init --from orders.csv`)
  assert.equal(refused.code, 2)
  assert.match(refused.err, /\.\/orders\.ts is there already\n.*--force/)
})

test('what cannot become a pipeline is refused, and no file is written', async () => {
  await writeFile(join(folder.path, 'too-wide.csv'), wideCsv(1100, 2))
  const cases: [options: string, code: number, says: RegExp][] = [
    ['--from too-wide.csv', 1, /1100 columns takes 8800 bytes or more, and Postgres has room for 8160/],
    ['', 2, /from which sample\?/],
    ['--from orders.csv --to orders.txt', 2, /"orders.txt" is no file of TypeScript or JavaScript/],
    ['--from orders.csv --name Orders', 2, /"Orders" cannot be a pipeline's name/],
    ['--from 2026.csv', 2, /"2026.csv" gives the pipeline no name/],
    ['--from orders.csv --name shop-events', 2, /"shop-events" ships with Millrace/],
  ]
  const before = await readdir(folder.path)
  for (const [options, code, says] of cases) {
    const ended = await typed(`node ${main} init ${options}`)
    assert.equal(ended.code, code, options)
    assert.match(ended.err, says, options)
  }
  assert.deepEqual(await readdir(folder.path), before)
})

test('verbs know a pipeline by its file, and status by its name', async () => {
  await writeFile(
    join(folder.path, 'more.csv'),
    readFileSync(join(folder.path, 'orders.csv'), 'utf8').replace('5,paid', 'five,paid').replaceAll('A-', 'B-'),
  )
  await jsonOf(`node ${main} run ./orders.ts --input more.csv`)
  const status = await jsonOf(`node ${main} status`)
  const pipelines = status[0]?.['pipelines'] as Record<string, unknown>[]
  assert.equal(pipelines.find(({ pipeline }) => pipeline === 'orders')?.['rows_in'], 8)

  const [letter] = await jsonOf(`node ${main} dead-letters list --pipeline ./orders.ts`)
  assert.deepEqual([letter?.['pipeline'], letter?.['code']], ['orders', 'NOT_A_NUMBER'])
  const id = letter?.['id']
  await jsonOf(`node ${main} dead-letters edit ${id} --set total=5`)
  const [forecast] = await jsonOf(`node ${main} dead-letters replay ${id} --dry-run`)
  assert.equal(forecast?.['would'], 'land')
  const unnamed = await typed(`node ${main} dead-letters replay ${id}`)
  assert.equal(unnamed.code, 1)
  assert.match(unnamed.err, /--pipeline \.\/orders\.ts/)
  const [replayed] = await jsonOf(`node ${main} dead-letters replay ${id} --pipeline ./orders.ts`)
  assert.equal(replayed?.['written'], 1)

  const [forgotten] = await jsonOf(`node ${main} reset ./orders.ts --results --yes`)
  assert.equal(forgotten?.['reset'], true)
  assert.match((await typed(`node ${main} explain ./orders.ts`)).out, /in Postgres[\s\S]*orders/)
})

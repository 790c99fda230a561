/** The archiver killed with SIGKILL at each of its steps: the next run leaves exactly one copy of every file. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { archiveFailpoints } from '../src/failpoint.ts'
import { startMillrace } from './crash/process.ts'
import { namesIn } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

const full = Boolean(process.env['MILLRACE_FULL'])
const header = 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time'
const dropped = ['a.csv', 'b.csv', 'c.csv']
/** Every place is reached on both sides of each file's step, and the cursor's on both sides of it. */
const times = full ? [1, 2, 3, 4, 5, 6] : [1, 2]

const cases = (['plain', 'gzip'] as const).flatMap((mode) =>
  archiveFailpoints.flatMap((point) => {
    const isWritten = point === 'archive write' || point === 'archive remove temp'
    if (isWritten && mode === 'plain') return []
    return (point === 'archive cursor' ? [1, 2] : times).map((time) => ({ mode, point, time }))
  }),
)

describe('the archiver killed on its way', { concurrency: 2 }, () => {
  // keeps the shared server up from case to case
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  for (const { mode, point, time } of cases) {
    test(`${mode}, at "${point}", time ${time}: one copy of each file, and nothing else`, async () => {
      await using database = await testDatabase()
      const folder = await mkdtemp(join(tmpdir(), 'millrace-archive-kill-'))
      try {
        await play(folder, database.url, mode, `${point}@${time}=kill`)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    })
  }
})

async function play(folder: string, url: string, mode: 'plain' | 'gzip', failpoint: string): Promise<void> {
  const activity = join(folder, 'activity')
  const archive = join(activity, 'archive')
  const input = join(activity, 'input')
  const ending = mode === 'gzip' ? '.gz' : ''
  // somebody has put a file of that name there, on the day that it is now, wherever on earth
  const days = [0, 86_400_000].map((ms) => new Date(Date.now() + ms).toISOString().slice(0, 10).replaceAll('-', '/'))
  for (const day of days) {
    await mkdir(join(archive, day), { recursive: true })
    await writeFile(join(archive, day, `b.csv${ending}`), 'a stranger')
  }
  await mkdir(input, { recursive: true })
  for (const name of dropped) {
    const written = join(folder, name)
    await writeFile(written, contentOf(name))
    const before = Date.now() / 1000 - 1
    await utimes(written, before, before)
    await rename(written, join(input, name))
  }
  const command = ['run', 'user-activity', '--json']
  const env = {
    MILLRACE_DATA: join(folder, 'data'),
    DATABASE_URL: url,
    USER_ACTIVITY_DIR: activity,
    ARCHIVE_AFTER: '0',
    ...(mode === 'gzip' ? { ARCHIVE_COMPRESS: 'gzip' } : {}),
  }
  await using doomed = startMillrace(command, folder, { ...env, MILLRACE_FAILPOINT: failpoint })
  assert.deepEqual(await doomed.ended(), { code: null, signal: 'SIGKILL' }, doomed.story())
  await using next = startMillrace(command, folder, env)
  assert.deepEqual(await next.ended(), { code: 0, signal: null }, next.story())
  assert.partialDeepStrictEqual(JSON.parse(next.out), { rows_in: 0, batches: 0 })

  const found: Record<string, string> = {}
  let strangers = 0
  for (const entry of await readdir(archive, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const bytes = await readFile(join(entry.parentPath, entry.name))
    if (bytes.toString() === 'a stranger') {
      strangers++
      continue
    }
    const name = entry.name.slice(0, entry.name.length - ending.length).replace(/^\w+-\w+-\w+-/, '')
    // the name that was taken has its claim before it, the others are as they came
    assert.equal(entry.name.startsWith(name), name !== 'b.csv', entry.name)
    assert.ok(!Object.hasOwn(found, name), `${name} is there once`)
    found[name] = (mode === 'gzip' ? gunzipSync(bytes) : bytes).toString()
  }
  assert.deepEqual(found, Object.fromEntries(dropped.map((name) => [name, contentOf(name)])))
  assert.equal(strangers, days.length, 'and nothing was written over')
  assert.deepEqual(await namesIn(join(input, 'done')), [])
  assert.deepEqual(await namesIn(join(input, '.claimed')), [])
  assert.deepEqual(
    (await namesIn(archive)).filter((name) => name.startsWith('.')),
    [],
    'nothing is left on the way',
  )
  const records = join(folder, 'data/archived/user-activity')
  const noted = new Set<string>()
  for (const name of await namesIn(records)) {
    for (const line of (await readFile(join(records, name), 'utf8')).split('\n')) {
      if (line !== '') noted.add(basename(JSON.parse(line).path))
    }
  }
  assert.equal(noted.size, dropped.length, 'each file is noted, to be deleted one day')
}

function contentOf(name: string): string {
  return `${header}\n${name}-1,u,view,p,Chair,Home,1.00,,2026-01-01T00:00:00Z\n`
}

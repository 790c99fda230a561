/** The archive on a disk that is full: rows land all the same, and the archiver goes on when there is room. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from './crash/process.ts'
import { testDatabase } from './postgres.ts'

const main = join(import.meta.dirname, '../src/cli/main.ts')
// a file system of its own, which root may mount, and everybody else in a user namespace of his own
const alone = process.getuid?.() === 0 ? ['--mount'] : ['--mount', '--user', '--map-root-user']
const canMount = spawnSync('unshare', [...alone, 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0

test('a full disk pauses the archiver, and nothing else', {
  skip: canMount ? false : 'a small file system cannot be mounted here',
}, async () => {
  await using database = await testDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-full-disk-'))
  const activity = join(folder, 'activity')
  const archive = join(activity, 'archive')
  const input = join(activity, 'input')
  await mkdir(archive, { recursive: true })
  await mkdir(input, { recursive: true })
  const header = 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time'
  const contentOf = (name: string): string =>
    `${header}\n${name},u,view,p,${'Chair '.repeat(20_000)},Home,1.00,,2026-01-01T00:00:00Z\n`
  const drop = async (name: string): Promise<void> => {
    const written = join(folder, name)
    await writeFile(written, contentOf(name))
    const before = Date.now() / 1000 - 1
    await utimes(written, before, before)
    await rename(written, join(input, name))
  }
  const sql = await database.connect()
  const landed = async (): Promise<number> =>
    (await sql.query('select count(*)::int as n from user_activity').catch(() => ({ rows: [{ n: 0 }] }))).rows[0].n

  const script = 'mount -t tmpfs -o size=1m none "$0" && head -c 1000000 /dev/zero > "$0/filler" && exec "$@"'
  const worker = spawn(
    'unshare',
    [...alone, 'sh', '-c', script, archive, process.execPath, main, 'work', 'user-activity'],
    {
      env: {
        PATH: process.env['PATH'],
        MILLRACE_DATA: join(folder, 'data'),
        DATABASE_URL: database.url,
        USER_ACTIVITY_DIR: activity,
        ARCHIVE_AFTER: '0',
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  let log = ''
  worker.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  try {
    await drop('a.csv')
    const story = { what: () => `it says so: ${log}` }
    await eventually(async () => log.includes('"event":"archiving is paused"'), story)
    assert.match(log, /archiving is paused.*ENOSPC/)
    for (const name of ['b.csv', 'c.csv']) await drop(name)
    await eventually(async () => (await landed()) === 3, { what: () => `rows land meanwhile: ${log}` })
    // the file system as the worker sees it
    const seen = `/proc/${worker.pid}/root${archive}`
    await eventually(async () => (await readdir(join(input, 'done'))).length === 3, story)
    assert.deepEqual(
      (await readdir(seen)).filter((name) => name.endsWith('.part')),
      [],
    )
    await rm(join(seen, 'filler'))
    await eventually(async () => log.includes('"event":"archiving again"'), { ...story, withinMs: 60_000 })
    await eventually(async () => (await readdir(join(input, 'done'))).length === 0, story)
    const archived: Record<string, string> = {}
    for (const entry of await readdir(seen, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) archived[entry.name] = await readFile(join(entry.parentPath, entry.name), 'utf8')
    }
    assert.deepEqual(archived, Object.fromEntries(['a.csv', 'b.csv', 'c.csv'].map((name) => [name, contentOf(name)])))
    assert.ok(!log.includes('"event":"retrying"'), 'the pipeline itself had nothing to retry')
  } finally {
    worker.kill('SIGTERM')
    if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit')
    await rm(folder, { recursive: true, force: true })
  }
})

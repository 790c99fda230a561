/** Cases that no repository can hold: names, things that are no files, files that change while they are read. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chmod, mkdir, readdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Case, Outcome, Run } from './corpus.ts'

const content = 'id,n\na,1\n'
const lands: Outcome = { rows: [{ line: 2, id: 'a', n: '1' }] }
const file = (path: string): Promise<void> => writeFile(path, content)

// ---- names ---------------------------------------------------------------------------------------------------------

const named = (shows: string, ...names: string[]): Case[] =>
  names.map((name) => ({ name, shows: `${shows}: ${JSON.stringify(name)}`, make: file, ...lands }))

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

export const nameCases: Case[] = [
  ...named('a name that can be read as a pattern', '*', '?.csv', 'a*.csv', '[a].csv', '{a,b}.csv', '**'),
  ...named('a name with quotes', "'", '"', "it's.csv", 'say "x".csv', '`id`.csv'),
  ...named('a name with blanks', ' a.csv', 'a.csv ', 'a  b.csv', ' ', '\u00a0.csv'),
  ...named('a name with line ends and controls', 'a\nb.csv', 'a\r.csv', 'a\tb.csv', '\u0001\u001b[31m.csv', '\u007f'),
  ...named('a name that looks like an option', '-', '-rf', '--input', '--again=1.csv'),
  ...named('a name that means something to a shell', '$HOME.csv', '~', ';rm -rf .', '&', '|x', '#', '!', '>a'),
  ...named('a name with dots', 'a..b.csv', 'a.', 'a...'),
  ...named('a name with a backslash, or with what looks like one', 'a\\b.csv', '\\xff.csv', '%2e%2e%2f.csv', 'C:\\a'),
  ...named('a name that looks like a partition', 'a=1.csv', 'year=2026'),
  ...named('a name of any script', 'ä.csv', '日本.csv', '\u{1f600}.csv', 'e\u0301.csv', '\u202egnp.csv', 'a\u200b.csv'),
  ...named('a name that says another format', 'a.parquet', 'a.json', 'a.csv.gz', 'a', 'CON', '1', 'done.csv', 'null'),
  ...named('a name as long as can be', `${'n'.repeat(251)}.csv`, `${'ä'.repeat(125)}.csv`),
  {
    name: `${'q'.repeat(251)}.csv`,
    shows: 'a name as long as can be, of a file that is put aside',
    make: (path) => writeFile(path, 'x\n'),
    quarantined: {
      code: 'HEADER_MISMATCH',
      says: 'the header lacks "id", "n"',
    },
  },
  {
    name: 'caf\\xe9.csv',
    nameBytes: bytes('caf\xe9.csv'),
    shows: 'a name in Latin-1 is read, and its bytes are written out',
    make: file,
    ...lands,
  },
  {
    name: '\\xff\\xfe.csv',
    nameBytes: bytes('\xff\xfe.csv'),
    shows: 'a name that is no text, of a file that is put aside',
    make: (path) => writeFile(path, ''),
    quarantined: { code: 'EMPTY_FILE', says: 'the file is empty' },
  },
  { name: '.hidden.csv', shows: 'a hidden file is not looked at', make: file },
  { name: '..csv', shows: 'a hidden file with two dots is not looked at', make: file },
]

// ---- things that are no files --------------------------------------------------------------------------------------

/** They need a file outside and a socket that somebody listens at, until they are disposed of. */
export async function folderCases(): Promise<{ cases: Case[] } & AsyncDisposable> {
  const outside = join(tmpdir(), `millrace-corpus-outside-${process.pid}`)
  await mkdir(outside, { recursive: true })
  await file(join(outside, 'good.csv'))
  const server = createServer()
  const link = (to: string) => (path: string) => symlink(to, path)
  const folder = async (path: string): Promise<void> => {
    await mkdir(path)
    await file(join(path, 'a.csv'))
  }
  const listen = async (path: string): Promise<void> => {
    // one at a time: each road has its own
    server.close()
    server.listen(path)
    await once(server, 'listening')
  }
  const left = (name: string, is: string, make: Case['make']): Case => ({
    name,
    shows: `${name} is ${is}`,
    make,
    leftAlone: `it is ${is}`,
  })
  return {
    cases: [
      left('x.csv', 'a folder', folder),
      left('fifo.csv', 'a FIFO', async (path) => execFileSync('mkfifo', [path])),
      left('socket.csv', 'a socket', listen),
      left('to-a-file.csv', 'a symbolic link', link(join(outside, 'good.csv'))),
      left('to-a-folder.csv', 'a symbolic link', link(outside)),
      left('to-nothing.csv', 'a symbolic link', link('nothing')),
      left('to-itself.csv', 'a symbolic link', link('to-itself.csv')),
      left('to-passwd.csv', 'a symbolic link', link('/etc/passwd')),
    ],
    async [Symbol.asyncDispose]() {
      server.close()
      await rm(outside, { recursive: true })
    },
  }
}

// ---- files that change while they are read -------------------------------------------------------------------------

/** Six rows, of which two have been read when something is done to it. */
export const changing = 'x.csv'
export const sixRows = `id,n\n${['a', 'b', 'c', 'd', 'e', 'f'].map((id, i) => `${id},${i}\n`).join('')}`

const twoRows = [
  { line: 2, id: 'a', n: '0' },
  { line: 3, id: 'b', n: '1' },
]
const partly = (code: string, says: string): Outcome => ({
  rows: twoRows,
  quarantined: { code, says: `${says}; its first 2 rows have been read before` },
})
const changed = partly('FILE_CHANGED', 'the file changed after a part of it had been read')
const gone = partly('FILE_UNREADABLE', 'the file is gone')

/** What is done to the file at this path, and what becomes of it. */
export const changes: { what: string; act(path: string): Promise<unknown>; outcome: Outcome }[] = [
  { what: 'grows', act: (path) => appendFile(path, 'g,6\n'), outcome: changed },
  { what: 'is truncated', act: (path) => truncate(path, 9), outcome: changed },
  { what: 'is emptied', act: (path) => truncate(path, 0), outcome: changed },
  { what: 'is written anew in its place', act: (path) => writeFile(path, sixRows), outcome: changed },
  {
    what: 'is replaced by another',
    async act(path) {
      await writeFile(`${path}.new`, sixRows)
      await rename(`${path}.new`, path)
    },
    outcome: changed,
  },
  { what: 'is renamed', act: (path) => rename(path, join(dirname(path), '../../..', 'moved')), outcome: gone },
  { what: 'is deleted', act: (path) => rm(path), outcome: gone },
  {
    what: 'is replaced by a FIFO',
    async act(path) {
      await rm(path)
      execFileSync('mkfifo', [path])
    },
    outcome: partly('FILE_UNREADABLE', 'it is a FIFO, and no regular file'),
  },
]

/** Where a file of the folder `place` lies while it is read. */
export async function pathWhileRead(place: string, road: Run['road']): Promise<string> {
  if (road === 'inputs') return join(place, changing)
  const claimed = join(place, '.claimed')
  for (const id of await readdir(claimed)) {
    if ((await readdir(join(claimed, id))).includes(changing)) return join(claimed, id, changing)
  }
  throw new Error('it is not being read')
}

// ---- what this user may not do -------------------------------------------------------------------------------------

export const unreadable: Case = {
  name: 'secret.csv',
  shows: 'a file that this user may not read',
  async make(path) {
    await file(path)
    await chmod(path, 0)
  },
  quarantined: { code: 'FILE_UNREADABLE', says: 'this user may not read the file (EACCES)' },
}

export const unmovable: Case = {
  name: 'of-another.csv',
  shows: "another user's file, in a folder that lets only owners move them",
  make: file,
  ofAnother: true,
  leftAlone: 'it cannot be moved (EPERM)',
}

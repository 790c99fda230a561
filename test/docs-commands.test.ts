/**
 * Every fence of the documentation that is no TypeScript, page by page, in an empty folder with a database of its own.
 *
 *     sh            is run by bash, and every command in it must succeed; start and serve go on until the page ends
 *     text          after a sh fence: what it prints, but for times, ports, passwords and places
 *     sql           is asked of the database
 *     csv x.csv     with a name: the file is written; when it is there, it must be equal
 *     json          is JSON
 *     ... not run: why          is not run, and the reason is printed
 *
 * What a page takes for granted stands in it as a comment that begins with `before`, and is run in its place.
 * `MILLRACE_DOCS=write` writes what was printed into the pages where it differs: read it, it may be wrong.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, glob, mkdir, mkdtempDisposable, realpath, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openEmbedded } from '../src/store/embedded/open.ts'
import { clusterIn } from './crash/cluster.ts'
import { eventually } from './crash/process.ts'

const root = dirname(import.meta.dirname)
const main = join(root, 'src', 'cli', 'main.ts')
const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'bench/README.md',
  'test/corpus/README.md',
]
for await (const page of glob('docs/**/*.md', { cwd: root })) pages.push(page)

const languages = ['before', 'sh', 'text', 'sql', 'csv', 'json', 'ts', 'mermaid']

const hasCurl = spawnSync('curl', ['--version']).status === 0

interface Part {
  /** `before` for what a comment asks for. */
  language: string
  /** What follows the language. */
  name: string
  body: string
  line: number
}

test('a fence that prints something else than stands below it is found', async () => {
  await using place = await openPlace()
  const wrong = partsOf('```sh\necho one\n```\n\n```text\ntwo\n```\n')
  await assert.rejects(() => play(place, 'page.md', wrong), /page\.md:5/)
  const failing = partsOf('```sh\nfalse\necho one\n```\n')
  await assert.rejects(() => play(place, 'page.md', failing), /page\.md:1/)
  assert.throws(() => partsOf('```sh\nnever closed\n'), /is not closed/)
})

test('what differs from run to run is not compared, and everything else is', () => {
  const same: [string, string][] = [
    ['last batch  41, 3 s ago', 'last batch   41, 17 min ago'],
    ['http://127.0.0.1:4040 (pid 1)', 'http://127.0.0.1:35555 (pid 77)'],
    ['password  abc', 'password  d-e_f'],
    ['//millrace:a-b_c@127.0.0.1:1/x', '//millrace:d@127.0.0.1:2/x'],
    ['files, in /tmp/a', 'files, in\n    /tmp/a'],
    ['2026-01-31T12:00:00.000Z', '2027-01-31T12:00:01.123Z'],
  ]
  for (const [one, other] of same) assert.equal(masked(one), masked(other))
  for (const [one, other] of [
    ['written 41', 'written 42'],
    ['running', 'retrying'],
    ['a b', 'ab'],
  ] as const)
    assert.notEqual(masked(one), masked(other))
})

async function check(page: string, parts: Part[], t: TestContext): Promise<void> {
  for (const { language, name, line } of parts) {
    assert.ok(languages.includes(language), `${page}:${line}: what is a fence of "${language}"?`)
    const [, why] = /^not run: (.+)$/.exec(name) ?? []
    if (why !== undefined) t.diagnostic(`${page}:${line} is not run: ${why}`)
  }
  const played = parts.filter(({ language, name }) => !name.startsWith('not run: ') && language !== 'mermaid')
  if (!hasCurl && played.some(({ body }) => /^curl /m.test(body))) {
    t.diagnostic(`${page} is not played: there is no curl here`)
    return
  }
  if (played.every(({ language, name }) => language === 'ts' && name === '')) return
  await using place = await openPlace()
  const printed = await play(place, page, played, process.env['MILLRACE_DOCS'] === 'write')
  if (printed.size > 0) rewrite(page, printed)
}

// Answers what was printed where something else stands, when it is to be written.
async function play(place: Place, page: string, parts: Part[], write = false): Promise<Map<number, string>> {
  const differing = new Map<number, string>()
  let printed: string | undefined
  for (const { language, name, body, line } of parts) {
    const at = `${page}:${line}`
    if (language === 'sh' || language === 'before') printed = await place.bash(body, at)
    else if (language === 'sql') await place.bash(`millrace sql -- "$1"`, at, body)
    else if (name !== '') {
      const path = join(place.folder, name)
      if (existsSync(path)) assert.equal(readFileSync(path, 'utf8'), body, `${at}: ${name} is another one`)
      else await writeFile(path, body)
    } else if (language === 'json') JSON.parse(body)
    else if (language === 'text') {
      assert.ok(printed !== undefined, `${at}: what printed this?`)
      const actual = printed.replaceAll(place.folder, '/home/you/shop')
      if (masked(actual) !== masked(body) && write) differing.set(line, actual)
      else assert.equal(masked(actual), masked(body), at)
    }
  }
  return differing
}

/** The fences of a page and its comments that say what goes before, in their order. */
function partsOf(markdown: string): Part[] {
  const parts: Part[] = []
  let open: (Part & { ends: string }) | undefined
  for (const [i, text] of markdown.split('\n').entries()) {
    if (open !== undefined) {
      if (text === open.ends) {
        parts.push({ language: open.language, name: open.name, body: open.body, line: open.line })
        open = undefined
      } else open.body += `${text}\n`
      continue
    }
    const [, language, name] = /^```(\S*) ?(.*)$/.exec(text) ?? []
    if (language !== undefined) open = { language, name: name ?? '', body: '', line: i + 1, ends: '```' }
    else if (text === '<!-- before') open = { language: 'before', name: '', body: '', line: i + 1, ends: '-->' }
  }
  assert.equal(open, undefined, `the fence in line ${open?.line} is not closed`)
  return parts
}

interface Place extends AsyncDisposable {
  folder: string
  /** Runs a script, and answers what it printed. */
  bash(script: string, at: string, ...args: string[]): Promise<string>
}

// A folder where `millrace` is a command and a package, and npm knows the scripts of this repository.
async function openPlace(): Promise<Place> {
  const room = await mkdtempDisposable(join(await realpath(tmpdir()), 'millrace-docs-'))
  const folder = join(room.path, 'here')
  const bin = join(room.path, 'bin')
  await mkdir(join(folder, 'node_modules'), { recursive: true })
  await mkdir(bin)
  await symlink(root, join(folder, 'node_modules', 'millrace'))
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const here = (script = ''): string => script.replaceAll(/(tools|src)\//g, `${root}/$1/`)
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({
      private: true,
      type: 'module',
      scripts: { start: here(scripts['start']), millrace: here(scripts['millrace']) },
    }),
  )
  await writeFile(join(bin, 'millrace'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`)
  await chmod(join(bin, 'millrace'), 0o755)
  const pids = join(room.path, 'pids')
  const env = {
    PATH: `${bin}:${process.env['PATH']}`,
    HOME: room.path,
    // a free one: pages are read beside other tests
    PORT: '0',
    PIDS: pids,
    NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'),
  }
  const data = join(folder, 'data')
  const cluster = await clusterIn(data)
  // held, or every command would start and stop it
  const held = await openEmbedded({ dataDirectory: data, log: () => {} })
  return {
    folder,
    async bash(script, at, ...args) {
      const child = spawn('bash', ['-c', `${preamble}\n${playable(script)}`, 'bash', ...args], {
        cwd: folder,
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let out = ''
      child.stdout.setEncoding('utf8').on('data', (part) => {
        out += part
      })
      const [code] = await once(child, 'close')
      assert.equal(code, 0, `${at} failed:\n${out}`)
      return out
    },
    async [Symbol.asyncDispose]() {
      const started = existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n').map(Number) : []
      for (const pid of started) if (lives(pid)) process.kill(pid, 'SIGTERM')
      await eventually(async () => !started.some(lives), { what: () => 'what the page started has stopped' })
      await held[Symbol.asyncDispose]()
      await cluster[Symbol.asyncDispose]()
      await room[Symbol.asyncDispose]()
    },
  }
}

// What has no end goes on behind, once its server says that it is ready.
const preamble = `exec 2>&1
set -e -o pipefail
background() {
  "$@" >.background.log 2>&1 </dev/null &
  for _ in $(seq 300); do
    port=$(sed -n 's/.*"port":\\([0-9]*\\).*/\\1/p' data/server.json 2>/dev/null || true)
    if [ -n "$port" ] && ready; then
      # not of what was called: npm has the server for a child
      sed 's/.*"pid":\\([0-9]*\\).*/\\1/' data/server.json >>"$PIDS"
      return 0
    fi
    sleep 0.1
  done
  cat .background.log
  return 1
}
served() { sed -n 's/.*"port":\\([0-9]*\\).*/\\1/p' data/server.json; }
ready() (
  exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
  printf 'GET /health/ready HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3
  head -n 1 <&3 | grep -q ' 200 '
)
`

function playable(script: string): string {
  assert.doesNotMatch(script, /^millrace (work|dev)\b/m, 'it has no end, and no server that says when it is ready')
  return (
    script
      .replaceAll(/^((?:\w+=\S+ )*)(millrace (?:start|serve)|npm start)\b/gm, '$1background $2')
      // a minute of events reads well, and is no test; a number of them is made at once
      .replaceAll(/^(?!.*--count)(.*)--duration \d+/gm, '$1--duration 2')
      .replaceAll(/(['"]?)http:\/\/127\.0\.0\.1:4040([^\s'"]*)\1/g, '"http://127.0.0.1:$(served)$2"')
  )
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // what was started by a bash that has ended is nobody's child, and may be a zombie for good
    return !execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('Z')
  } catch {
    return false
  }
}

/** The text without what differs from one run to the next: how wide columns are depends on it. */
function masked(text: string): string {
  return (
    text
      .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:\d\d)?)?/g, '<moment>')
      .replaceAll(/\b(\d+ h \d+ min|[\d.]+ (ms|s|min|h|days))\b( ago)?|\bjust now\b/g, '<time>')
      .replaceAll(/^( *seconds +)[\d.]+$/gm, '$1<time>')
      .replaceAll(/[\d.,]+ [kMGT]B free/g, '<room> free')
      .replaceAll(/\bpid \d+/g, 'pid <n>')
      .replaceAll(/\b(running on|backfill by|lent by) \S+:\d+/g, '$1 <worker>')
      .replaceAll(/\/\/millrace:[^@\s]+@/g, '//millrace:<password>@')
      .replaceAll(/127\.0\.0\.1:\d+/g, '127.0.0.1:<port>')
      .replaceAll(/^( *(port|password) +)\S+$/gm, '$1<$2>')
      .replaceAll(/\bport \d+/g, 'port <port>')
      .replaceAll(/"seconds":[\d.]+/g, '"seconds":<time>')
      .replaceAll(/(version|Postgres|PostgreSQL\)) \d+\.\d+(\.\d+)?/g, '$1 <version>')
      // long paths break lines elsewhere than short ones
      .replaceAll(/\s+/g, ' ')
      .trim()
  )
}

// A page holds no password, not even of a database that is gone, and the port that readers will see.
function presentable(text: string): string {
  return text
    .replaceAll(/\/\/millrace:[^@\s]+@/g, '//millrace:PASSWORD@')
    .replaceAll(/^( *password +)\S+$/gm, '$1PASSWORD')
    .replaceAll(/http:\/\/127\.0\.0\.1:\d+/g, 'http://127.0.0.1:4040')
    .replaceAll(/runs on port \d+/g, 'runs on port 4040')
}

function rewrite(page: string, printed: Map<number, string>): void {
  const lines = readFileSync(join(root, page), 'utf8').split('\n')
  // from the last to the first: the numbers of those above stay
  for (const [line, text] of [...printed].sort(([a], [b]) => b - a)) {
    const end = lines.indexOf('```', line)
    lines.splice(
      line,
      end - line,
      ...presentable(text)
        .replace(/\n+$/, '')
        .split('\n')
        .map((each) => each.trimEnd()),
    )
  }
  writeFileSync(join(root, page), lines.join('\n'))
}

for (const page of pages.sort()) {
  const parts = partsOf(readFileSync(join(root, page), 'utf8'))
  if (parts.length > 0) test(`the fences of ${page} are true`, (t) => check(page, parts, t))
}

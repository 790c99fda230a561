/** The scripts in the shells they are for: proposals asked for one by one, and Tab pressed on a terminal. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { systems } from '../../pipelines/index.ts'
import { eventually } from '../../test/crash/process.ts'
import { MillraceError } from '../errors.ts'
import { reasons } from '../operators/validate.ts'
import { verbs } from './verbs.ts'

const run = promisify(execFile)
const names = Object.keys(verbs)
const firstWords = [...new Set(names.map((name) => name.split(' ')[0] ?? ''))]
const pipelines = systems.map(({ name }) => name)

// What is typed, and what must be among the proposals for its last word; `only`: nothing else may.
const cases: { typed: string; proposes: string[]; only?: true; files?: true }[] = [
  { typed: 'millrace ', proposes: [...firstWords, 'help'], only: true },
  { typed: 'millrace stat', proposes: ['status'], only: true },
  { typed: 'millrace help ', proposes: firstWords },
  { typed: 'millrace dead-letters ', proposes: ['list', 'show', 'edit', 'replay', 'discard'], only: true },
  { typed: 'millrace dead-letters re', proposes: ['replay'], only: true },
  { typed: 'millrace run ', proposes: pipelines },
  { typed: 'millrace run shop', proposes: ['shop-events'] },
  { typed: 'millrace work shop-events user', proposes: ['user-activity'] },
  { typed: 'millrace dead-letters list --pipeline shop', proposes: ['shop-events'] },
  {
    typed: 'millrace dead-letters replay --code NOT_',
    proposes: Object.keys(reasons).filter((code) => code.startsWith('NOT_')),
  },
  { typed: 'millrace completions ', proposes: ['bash', 'zsh', 'fish'], only: true },
  ...names.map((name) => ({
    typed: `millrace ${name} --`,
    proposes: [...Object.keys(verbs[name]?.options ?? {}), 'help'].map((option) => `--${option}`),
    only: true as const,
  })),
]

test('bash is proposed every verb, option, pipeline and code, where it may stand', async () => {
  await using here = await printed('bash')
  // as bash does it: the words of the line, those before the cursor, and the function that the command has
  const ask = `source "$1"; COMP_WORDS=("\${@:2}"); COMP_CWORD=$(($# - 2)); _millrace; printf '%s\\n' "\${COMPREPLY[@]}"`
  for (const each of cases) {
    const { stdout, stderr } = await run('bash', ['-c', ask, 'bash', here.path, ...each.typed.split(' ')])
    assert.equal(stderr, '')
    judge(
      each,
      stdout.split('\n').filter((line) => line !== ''),
    )
  }
  const { stdout } = await run('bash', ['-c', ask, 'bash', here.path, 'millrace', 'run', '--input', ''])
  assert.equal(stdout.trim(), '', 'paths are completed by bash itself')
})

test('fish is proposed the same, and paths where they may stand', { skip: lacking('fish') }, async () => {
  await using here = await printed('fish')
  await writeFile(join(here.folder, 'orders.csv'), '')
  const ask = async (typed: string): Promise<string[]> => {
    const script = `source ${here.path}; complete -C ${JSON.stringify(typed)}`
    const { stdout, stderr } = await run('fish', ['--no-config', '-c', script], { cwd: here.folder })
    assert.equal(stderr, '')
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']))
  }
  for (const each of cases) judge(each, await ask(each.typed))
  assert.deepEqual(await ask('millrace run shop-events --input ord'), ['orders.csv'])
  assert.deepEqual(await ask('millrace generate shop-events --count ord'), [])
})

test('Tab completes on a terminal in bash', { skip: lacking('script') }, async () => {
  await using here = await printed('bash')
  await completesOnTerminal(here, ['bash', '--noprofile', '--norc', '-i'], `PS1='rea''dy> '; source ${here.path}`)
})

test('Tab completes on a terminal in zsh', { skip: lacking('zsh') || lacking('script') }, async () => {
  await using here = await printed('zsh')
  const setUp = `PS1='rea''dy> '; autoload -Uz compinit && compinit -u -D; source ${here.path}`
  await completesOnTerminal(here, ['zsh', '-f', '-i'], setUp)
})

test('a shell that nobody has heard of is a wrong usage', async () => {
  const call = { options: {}, signal: new AbortController().signal, out: () => {} }
  for (const words of [[], ['csh'], ['bash', 'zsh'], ['toString']]) {
    await assert.rejects(
      async () => await verbs['completions']?.run({ ...call, words }),
      (error) =>
        error instanceof MillraceError && error.code === 'WRONG_USAGE' && /bash, zsh, fish/.test(error.hint ?? ''),
    )
  }
})

function judge({ typed, proposes, only }: (typeof cases)[number], proposed: string[]): void {
  const missing = proposes.filter((each) => !proposed.includes(each))
  assert.deepEqual(missing, [], `${typed} lacks these`)
  if (only) assert.deepEqual([...proposed].sort(), [...proposes].sort(), typed)
}

interface Printed extends AsyncDisposable {
  path: string
  folder: string
}

async function printed(shell: string): Promise<Printed> {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-completions-'))
  const path = join(folder.path, `millrace.${shell}`)
  const lines: string[] = []
  const call = {
    words: [shell],
    options: {},
    signal: new AbortController().signal,
    out: (line: string) => void lines.push(line),
  }
  assert.equal(await verbs['completions']?.run(call), 0)
  await writeFile(path, `${lines.join('\n')}\n`)
  return { path, folder: folder.path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

// A command of the same name says what it was called with.
async function completesOnTerminal({ folder }: Printed, shell: string[], setUp: string): Promise<void> {
  await writeFile(join(folder, 'some orders.csv'), '')
  const child = spawn('script', ['-qec', shell.join(' '), '/dev/null'], {
    cwd: folder,
    env: { PATH: process.env['PATH'], TERM: 'xterm', HOME: folder },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (part) => {
    said += part
  })
  // once the shell has a prompt, it reads what is typed as it should
  const until = async (text: string): Promise<void> => {
    await eventually(async () => said.includes(text), { what: () => `"${text}" appears in ${JSON.stringify(said)}` })
    said = ''
  }
  try {
    child.stdin.write(`millrace() { printf '<%s>' "$@"; echo; }; ${setUp}\n`)
    await until('ready> ')
    const typed: [string, string][] = [
      ['millrace stat\t --wa\t', '<status><--watch>'],
      ['millrace dead-l\t rep\t --dry\t', '<dead-letters><replay><--dry-run>'],
      ['millrace explain shop\t', '<explain><shop-events>'],
      ['millrace run user\t --input some\t', '<run><user-activity><--input><some orders.csv>'],
      ['millrace dead-letters list --code=NOT_ONE\t', '<dead-letters><list><--code=NOT_ONE_OF>'],
    ]
    for (const [keys, called] of typed) {
      child.stdin.write(`${keys}\n`)
      await until(`${called}\r\n`)
    }
  } finally {
    await ended(child)
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const exit = once(child, 'exit')
  child.stdin?.end('exit\n')
  // a shell that hangs ends with its terminal
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await exit
  clearTimeout(timer)
}

function lacking(program: string): string | false {
  const { error } = spawnSync(program, ['--version'])
  return error === undefined ? false : `there is no ${program} here: apt-get install ${program}`
}

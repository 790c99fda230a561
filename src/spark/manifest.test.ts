import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Manifest } from './manifest.ts'

async function openLogs() {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-manifest-'))
  const logs = join(folder.path, '_spark_metadata')
  return {
    folder: folder.path,
    async write(log: string, ...names: string[]) {
      await mkdir(logs, { recursive: true })
      const entries = names.map((name) => JSON.stringify({ path: `file:///elsewhere/${name}`, action: 'add', size: 1 }))
      await writeFile(join(logs, log), ['v1', ...entries].join('\n'))
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}

test('a manifest that nobody has begun names nothing', async () => {
  await using logs = await openLogs()
  assert.deepEqual(await new Manifest(logs.folder).more(), [])
})

test('each file is named once, in order, whatever of it was read before it was compacted', async () => {
  const all = ['a', 'b', 'c', 'd', 'e', 'f']
  const steps: [string, ...string[]][] = [
    ['0', 'a', 'b'],
    ['1'],
    // all up to there, as Spark writes it every few batches
    ['2.compact', 'a', 'b', 'c'],
    ['3', 'd'],
    ['5.compact', 'a', 'b', 'c', 'd', 'e'],
    ['6', 'f'],
  ]
  for (let looks = 0; looks < 2 ** steps.length; looks++) {
    await using logs = await openLogs()
    const manifest = new Manifest(logs.folder)
    const named: string[] = []
    for (const [i, [log, ...names]] of steps.entries()) {
      // the batch that is missing there went into the next compact one
      await logs.write(log, ...names)
      if ((looks >> i) & 1) named.push(...(await manifest.more()))
    }
    named.push(...(await manifest.more()))
    assert.deepEqual(named, all, `looks ${looks.toString(2)}`)
  }
})

test('who begins late finds all of it, though old logs are gone', async () => {
  await using logs = await openLogs()
  await logs.write('9.compact', 'a', 'b')
  await logs.write('10', 'c')
  assert.deepEqual(await new Manifest(logs.folder).more(), ['a', 'b', 'c'])
})

test('files that are being written, and checksums, are no logs; a line that is no file stops it', async () => {
  await using logs = await openLogs()
  await logs.write('0', 'a')
  await logs.write('.1.8c9.tmp', 'b')
  await logs.write('.0.crc')
  assert.deepEqual(await new Manifest(logs.folder).more(), ['a'])
  await writeFile(join(logs.folder, '_spark_metadata', '1'), 'v1\n{"path":"file:///x","action":"delete"}\n')
  await assert.rejects(new Manifest(logs.folder).more(), /it has a line that is none of a file that was added/)
  await writeFile(join(logs.folder, '_spark_metadata', '1'), 'v2\n')
  await assert.rejects(new Manifest(logs.folder).more(), /its version is v2, and v1 is known/)
})

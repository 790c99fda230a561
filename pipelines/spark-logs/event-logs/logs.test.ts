import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findLogs, parsedId, parsedName } from './logs.ts'

test('the name of a file says which application it is of, how it is packed, and whether it is written', () => {
  const cases: [string, string, string, string | undefined, boolean][] = [
    ['local-1', 'local-1', '', 'plain', false],
    ['local-1.inprogress', 'local-1', '', 'plain', true],
    ['app-20261121210813-0000.zstd', 'app-20261121210813-0000', '', 'zstd', false],
    ['app-20261121210813-0000_2.lz4.inprogress', 'app-20261121210813-0000', '2', 'lz4', true],
    ['application_1490000000000_0001_1', 'application_1490000000000_0001', '1', 'plain', false],
    ['application_1490000000000_0001.gz', 'application_1490000000000_0001', '', 'gzip', false],
    ['spark-a.b', 'spark-a.b', '', 'plain', false],
    ['local-1.snappy', 'local-1', '', undefined, false],
  ]
  for (const [name, appId, attempt, codec, inProgress] of cases) {
    const parsed = parsedName(name)
    assert.deepEqual(
      { ...parsedId(parsed.id), codec: parsed.codec, inProgress: parsed.inProgress },
      { appId, attempt, codec, inProgress },
      name,
    )
  }
})

test('files of a rolling log are in the order of their numbers, and what cannot be read is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-logs-'))
  try {
    const rolling = join(folder, 'eventlog_v2_local-7_3')
    await mkdir(rolling)
    for (const name of [
      'events_10_local-7_3',
      'events_2_local-7_3.zstd',
      'appstatus_local-7_3.inprogress',
      '.hidden',
    ]) {
      await writeFile(join(rolling, name), 'x')
    }
    await writeFile(join(folder, 'local-8.snappy'), 'x')
    await writeFile(join(folder, 'notes.txt'), 'x')
    await writeFile(join(folder, '.local-9.crc'), 'x')
    const { logs, leftAlone } = await findLogs(folder)
    assert.deepEqual(
      logs.map(({ appId, attempt, inProgress, files }) => [appId, attempt, inProgress, files.map(({ key }) => key)]),
      [['local-7', '3', true, ['2', '10']]],
    )
    assert.deepEqual(leftAlone, [
      { path: join(folder, 'local-8.snappy'), why: 'packed with snappy; plain, zstd, gzip and lz4 can be read' },
    ])
    assert.deepEqual(await findLogs(join(folder, 'none')), { logs: [], leftAlone: [] })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

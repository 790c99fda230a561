import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtempDisposable, readdir, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MillraceError } from '../../errors.ts'
import { claimFile, claimInputs, countFolder, isComplete, listFolder, settleMs } from './claims.ts'

const root = await mkdtempDisposable(join(tmpdir(), 'millrace-claims-'))
after(() => root.remove())

async function folder(name: string): Promise<string> {
  const path = join(root.path, name)
  await mkdir(path)
  return path
}

test('a file is complete when it was moved in, or when nothing has changed for a while', () => {
  const now = 1_800_000_000_000
  const at = (ms: number): bigint => BigInt(now + ms) * 1_000_000n
  const cases: [mtimeMs: number, ctimeMs: number, complete: boolean][] = [
    // written here, just now and a while ago
    [-1, -1, false],
    [-settleMs, -settleMs, true],
    // moved in just now
    [-100, -1, true],
    [-5, -1, false],
    // its time was set to the future, just now and a while ago
    [1e12, -1, false],
    [1e12, -settleMs, true],
  ]
  for (const [mtimeMs, ctimeMs, complete] of cases) {
    assert.equal(isComplete({ mtimeNs: at(mtimeMs), ctimeNs: at(ctimeMs) }, now), complete, `${mtimeMs}, ${ctimeMs}`)
  }
})

test('what is no regular file is told apart, and hidden names and what is done are not looked at', async () => {
  const raw = await folder('kinds')
  await writeFile(join(raw, 'b.csv'), '')
  await writeFile(Buffer.concat([Buffer.from(`${raw}/a`), Buffer.from([0xff])]), '')
  await writeFile(join(raw, '.hidden'), '')
  await mkdir(join(raw, 'done'))
  await mkdir(join(raw, 'x.csv'))
  await symlink('b.csv', join(raw, 'link'))
  execFileSync('mkfifo', [join(raw, 'fifo')])
  assert.deepEqual(await listFolder(raw), {
    files: [{ name: 'a\\xff', bytes: Buffer.from([0x61, 0xff]) }, { name: 'b.csv' }],
    others: [
      { name: 'fifo', is: 'a FIFO' },
      { name: 'link', is: 'a symbolic link' },
      { name: 'x.csv', is: 'a folder' },
    ],
  })
  const { files, others } = await listFolder(raw)
  assert.deepEqual(await countFolder(raw), { files: files.length, others })
})

test('a file is taken whatever its name is, with the bytes that are no text written out', async () => {
  const raw = await folder('names')
  const names = ['a *\'"[x]\n.csv', `${'n'.repeat(251)}.csv`, '-rf', 'ä']
  for (const name of names) await writeFile(join(raw, name), 'x')
  await writeFile(Buffer.concat([Buffer.from(`${raw}/`), Buffer.alloc(255, 0xff)]), 'x')
  const { files } = await listFolder(raw)
  const claims: string[] = []
  for (const [i, file] of files.entries()) {
    const taking = await claimFile(raw, file, `id-${i}`, Date.now() + 2 * settleMs)
    assert.ok(taking.is === 'claimed', taking.is)
    claims.push(taking.claim.path)
    assert.equal(taking.claim.at, join(raw, '.claimed', `id-${i}`, taking.claim.path.slice(raw.length + 1)))
    assert.deepEqual(await readdir(join(raw, '.claimed', `id-${i}`)), [taking.claim.path.slice(raw.length + 1)])
  }
  const cut = `${'\\xff'.repeat(58)}\\x~${'\\xff'.repeat(5)}`
  assert.deepEqual(claims.sort(), [...names, cut].map((name) => join(raw, name)).sort())
  assert.deepEqual((await listFolder(raw)).files, [])
})

test('an input that is named is read through a link, and only as a file', async () => {
  const inputs = await folder('inputs')
  await writeFile(join(inputs, 'a.csv'), 'x')
  await utimes(join(inputs, 'a.csv'), 1, 1)
  await symlink('a.csv', join(inputs, 'link.csv'))
  execFileSync('mkfifo', [join(inputs, 'fifo')])
  const leftAlone: string[] = []
  const found = async (...given: string[]): Promise<string[]> => {
    const claims = await claimInputs(given, (path, why) => leftAlone.push(`${path.slice(inputs.length + 1)}: ${why}`))
    return claims.map(({ path, size }) => `${path.slice(inputs.length + 1)} ${size}`)
  }
  assert.deepEqual(await found(join(inputs, 'link.csv')), ['link.csv 1'])
  assert.deepEqual(await found(join(inputs, '*.csv')), ['a.csv 1', 'link.csv 1'])
  assert.deepEqual(leftAlone, [])
  // what merely lies in a folder is not followed
  assert.deepEqual(await found(inputs), ['a.csv 1'])
  assert.deepEqual(leftAlone, ['fifo: it is a FIFO', 'link.csv: it is a symbolic link'])
  await assert.rejects(found(join(inputs, 'fifo')), (error) => {
    assert.ok(error instanceof MillraceError)
    return error.code === 'NO_INPUT' && error.message.endsWith('is a FIFO, and only regular files are read')
  })
})

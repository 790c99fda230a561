import assert from 'node:assert/strict'
import { mkdtempDisposable, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { allows, newToken, openTokenFile, readTokens, writeTokens } from './tokens.ts'

test('a token is known by its hash alone, until it is taken back', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-tokens-'))
  const path = join(folder.path, 'tokens.json')
  const now = new Date('2026-01-31T12:00:00Z')
  const [first, second] = [newToken('first', 'read', now), newToken('second', 'admin', now)]
  await writeTokens(path, [first.kept, second.kept])
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.ok(!JSON.stringify(readTokens(path)).includes(first.token))
  const file = openTokenFile(path)
  assert.deepEqual(file.holder(first.token), first.kept)
  assert.deepEqual(file.holder(second.token), second.kept)
  assert.equal(file.holder(`${first.token}x`), undefined)
  assert.equal(file.holder(''), undefined)
  await writeTokens(path, [second.kept])
  assert.equal(file.holder(first.token), undefined)
  assert.deepEqual(file.holder(second.token), second.kept)
})

test('a file that holds something else is no token file', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-tokens-'))
  const path = join(folder.path, 'tokens.json')
  for (const content of ['', '{}', '[{"name":"a"}]', '[{"name":"a","hash":"00","scope":"read","createdAt":""}]']) {
    await writeFile(path, content)
    assert.throws(() => readTokens(path), { code: 'INVALID_SETTING', hint: /millrace tokens/ }, content)
  }
})

test('a scope allows what the ones below it do', () => {
  assert.deepEqual(
    (['read', 'write', 'admin'] as const).map((held) => [allows(held, 'read'), allows(held, 'write')]),
    [
      [true, false],
      [true, true],
      [true, true],
    ],
  )
})

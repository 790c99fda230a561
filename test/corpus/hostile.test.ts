import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { Outcome } from './corpus.ts'
import { groups } from './hostile.ts'

// Node and its strings take a part of it, DuckDB what it may have, and the store in memory keeps every row.
const mostMiB = 1000

for (const [name, { cases, memoryLimitMb }] of Object.entries(groups)) {
  test(`files that cost (${name}) end as they should, in bounded memory`, { timeout: 10 * 60_000 }, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'hostile.ts'), name], {
      maxBuffer: 64 * 1024 * 1024,
    })
    // as: it prints this
    const ran = JSON.parse(stdout) as { found: Record<string, Outcome>; mostMiB: number }
    for (const each of cases) assert.deepEqual(ran.found[each.name], each.expected(), each.shows)
    const most = mostMiB + Math.max(0, memoryLimitMb - 96)
    assert.ok(ran.mostMiB < most, `it took ${ran.mostMiB} MiB of memory, more than ${most}`)
  })
}

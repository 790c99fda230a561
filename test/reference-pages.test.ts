import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { faults } from '../src/cli/faults.ts'
import { verbs } from '../src/cli/verbs.ts'
import { variables } from '../src/config.ts'
import { errorCodes } from '../src/errors.ts'
import { functions } from '../src/functions/index.ts'
import { pages } from '../tools/reference-pages.ts'

const folder = join(import.meta.dirname, '..', 'docs', 'reference')

for (const [name, print] of Object.entries(pages)) {
  test(`docs/reference/${name} is what the code prints`, () => {
    assert.equal(readFileSync(join(folder, name), 'utf8'), print(), 'run: npm run reference')
  })
}

test('nothing that the code has is missing from the reference', () => {
  const all = Object.values(pages)
    .map((print) => print())
    .join('\n')
  const names = [variables, functions, errorCodes, faults].flatMap((each) => Object.keys(each))
  const lost = [
    ...names.filter((name) => !new RegExp(`[\`# ]${name}\\b`).test(all)),
    ...Object.entries(verbs).flatMap(([verb, { options }]) => [
      ...(all.includes(`## millrace ${verb}\n`) ? [] : [verb]),
      ...Object.keys(options).filter((option) => !all.includes(`\`--${option}\``)),
    ]),
  ]
  assert.deepEqual(lost, [])
})

/** Some of the generated histories again, with their rows in topics of a real local log. */
import { after, test } from 'node:test'
import { openBench } from './histories.ts'
import { openLogIntake } from './log-intake.ts'
import { checkPairHistory } from './pair-histories.ts'
import { checkWindowHistory } from './window-histories.ts'

const histories = Math.ceil(Number(process.env['MILLRACE_HISTORIES'] ?? 500) / 100)
const first = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

for (const [what, check] of [
  ['windows', checkWindowHistory],
  ['pairs and totals', checkPairHistory],
] as const) {
  test(`${histories} generated histories of ${what} over a local log from seed ${first} end as the reference says`, {
    timeout: 10 * 60_000,
  }, async () => {
    for (let i = 0; i < histories; i++) await check(bench, first + i, openLogIntake)
  })
}

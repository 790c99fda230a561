/** Kills at fail points: which are tried, and how a worker comes to its end at one. */
import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import type { Failpoint } from '../../src/failpoint.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'
import type { InputFile } from './events.ts'
import { eventually } from './process.ts'
import { namesIn, type World } from './world.ts'

export interface KillCase {
  point: Failpoint
  occurrence: number
}

const full = Boolean(process.env['MILLRACE_FULL'])
// CI runs these a second time, on another Postgres: there the core is enough.
const everyPoint = Boolean(process.env['CI']) && process.env['MILLRACE_TEST_DATABASE_URL'] === undefined
export const howMany = full ? 'all' : `${everyPoint ? 'each once' : 'the core'} (MILLRACE_FULL=1: all)`

/** All cases, or the core, and in CI beside it one of each point that is not in it. */
export function casesOf(core: KillCase[], all: KillCase[]): KillCase[] {
  if (full) return all
  if (!everyPoint) return core
  const others = new Map(
    all.filter(({ point }) => core.every((each) => each.point !== point)).map((each) => [each.point, each]),
  )
  return [...core, ...others.values()]
}

/** Those of a bounded run: its files are neither listed nor claimed, since they stay where they are. */
export function ofBoundedRuns(cases: KillCase[]): KillCase[] {
  return cases.filter(({ point }) => point !== 'listed' && point !== 'claimed')
}

/** Keeps the shared server up from case to case. */
export function keepDatabase(): void {
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())
}

/** A worker over two waves of files, killed at a fail point; all files are there then, read or not. */
export async function killWorker(
  world: World,
  module: string,
  waves: [InputFile[], InputFile[]],
  { point, occurrence }: KillCase,
  dead: () => Promise<void> = async () => {},
): Promise<void> {
  const [first, second] = waves
  await world.drop(first)
  await using doomed = world.start(['work', module], { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
  let both = false
  await eventually(
    async () => {
      // once the first files are taken, others come
      if (!both && !(await namesIn(world.raw)).some((name) => name.endsWith('.csv'))) {
        both = true
        await world.drop(second)
      }
      return doomed.end
    },
    { what: () => `the worker dies: ${doomed.story()}` },
  )
  assert.deepEqual(doomed.end, { code: null, signal: 'SIGKILL' }, doomed.story())
  await dead()
  if (!both) await world.drop(second)
}

/** Another worker, until everything is done. */
export async function replaceWorker(world: World, module: string, files: InputFile[]): Promise<void> {
  await using worker = world.start(['work', module])
  // the killed one may have read everything, and one that has not begun cannot end in peace
  await worker.says('running')
  await world.drained(files, { worker })
  assert.deepEqual(await worker.stop(), { code: 0, signal: null })
}

/** A bounded run that is killed, and the same command again. */
export async function killRun(
  world: World,
  command: string[],
  { point, occurrence }: KillCase,
  dead: () => Promise<void> = async () => {},
  env: Record<string, string> = {},
): Promise<void> {
  await using doomed = world.start(command, { ...env, MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
  assert.deepEqual(await doomed.ended(), { code: null, signal: 'SIGKILL' }, doomed.story())
  await dead()
  await using second = world.start(command, env)
  assert.deepEqual(await second.ended(), { code: 0, signal: null }, second.story())
}

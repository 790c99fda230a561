/** What the rivals need and the machine may lack; `.ci/setup --bench` fetches it, into a cache outside the clone. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { runCommand } from './command.ts'

export interface RivalParts {
  spark: { python: string; jar: string } | undefined
  /** A Python that has FastAPI. */
  fastapi: string | undefined
  /** One line for each part that cannot be had, with the reason. */
  absent: string[]
}

/** `wanted`: there is a rival among the peers. */
export async function rivalParts(root: string, wanted: boolean, signal: AbortSignal): Promise<RivalParts> {
  if (!wanted) return { spark: undefined, fastapi: undefined, absent: [] }
  const setup = { program: join(root, '.ci/setup'), args: ['--bench'], signal }
  const out = await runCommand(setup)
  const cache = process.env['MILLRACE_CI_CACHE'] ?? join(homedir(), '.cache/millrace-ci')
  const found = parseEnv(await readFile(join(cache, 'env'), 'utf8'))
  const [python, jar] = [found['MILLRACE_SPARK_PYTHON'], found['MILLRACE_JDBC_JAR']]
  return {
    spark: python === undefined || jar === undefined ? undefined : { python, jar },
    fastapi: found['MILLRACE_FASTAPI_PYTHON'],
    absent: out.split('\n').filter((line) => line.includes(': absent: ')),
  }
}

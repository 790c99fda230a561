/** Spark's own History Server over a folder of logs, where Spark is installed. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../free-port.ts'

const run = promisify(execFile)
const python = process.env['MILLRACE_SPARK_PYTHON']

/** Why there can be none here, or false. */
export const noHistoryServer: string | false =
  python === undefined ? 'Spark is not installed: .ci/setup brings it, and names it in MILLRACE_SPARK_PYTHON' : false

export interface HistoryServer extends AsyncDisposable {
  get(path: string): Promise<{ status: number; body: unknown }>
}

/** Answers when it has listed so many applications. */
export async function openHistoryServer(logs: string, scratch: string, applications: number): Promise<HistoryServer> {
  if (python === undefined) throw new Error(String(noHistoryServer))
  const { stdout } = await run(python, ['-c', 'import os, pyspark; print(os.path.dirname(pyspark.__file__))'])
  const home = stdout.trim()
  const port = await freePort()
  const opens = ['java.lang', 'java.nio', 'java.util', 'java.util.concurrent', 'sun.nio.ch', 'sun.util.calendar']
  const server = spawn(
    'java',
    [
      '-Xmx1g',
      ...opens.flatMap((name) => ['--add-opens', `java.base/${name}=ALL-UNNAMED`]),
      '-cp',
      join(home, 'jars', '*'),
      `-Dspark.history.fs.logDirectory=file://${logs}`,
      `-Dspark.history.ui.port=${port}`,
      `-Dspark.local.dir=${scratch}`,
      'org.apache.spark.deploy.history.HistoryServer',
    ],
    { env: { PATH: process.env['PATH'], SPARK_HOME: home, SPARK_LOCAL_IP: '127.0.0.1' }, stdio: 'ignore' },
  )
  const get = async (path: string): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`)
    const text = await response.text()
    const isJson = /^\s*[[{]/.test(text)
    return { status: response.status, body: isJson ? JSON.parse(text) : text }
  }
  const stop = async (): Promise<void> => {
    if (server.exitCode !== null) return
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
  for (;;) {
    const listed = await get('/api/v1/applications').catch(() => undefined)
    if (Array.isArray(listed?.body) && listed.body.length >= applications) break
    if (server.exitCode !== null) throw new Error(`the History Server ended with ${server.exitCode}`)
    await sleep(200)
  }
  return { get, [Symbol.asyncDispose]: stop }
}

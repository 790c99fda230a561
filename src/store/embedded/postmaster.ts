import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/** The live processes of one embedded Postgres; zombies do not count. */
export interface ServerProcesses {
  readonly postmaster: number | undefined
  readonly backends: readonly number[]
}

/**
 * Finds the processes by the cluster name they carry: a pid in `postmaster.pid` may belong to anybody after a crash, and
 * is not there yet in the first moments. Only in the instant of its `exec` a process cannot be found.
 */
export async function serverProcesses(name: string): Promise<ServerProcesses> {
  let postmaster: number | undefined
  const backends: number[] = []
  for (const { pid, command } of await commands()) {
    if (command.startsWith(`postgres: ${name}: `)) backends.push(pid)
    else if (`${command} `.includes(` cluster_name=${name} `)) postmaster = pid
  }
  return { postmaster, backends }
}

/** Stops the server the fast way: open transactions roll back, and the next start has nothing to recover. */
export async function stopServer(name: string): Promise<void> {
  let found = await serverProcesses(name)
  if (found.postmaster === undefined) {
    // An owner may have been killed in the instant in which it started the server.
    await sleep(300)
    found = await serverProcesses(name)
  }
  if (found.postmaster !== undefined) {
    signal(found.postmaster, 'SIGINT')
    if (!(await gone(found.postmaster, name, 120_000))) signal(found.postmaster, 'SIGQUIT')
  }
  await endOrphans(name)
}

/** Ends what a dead postmaster left behind: a busy backend would keep the shared memory, and so the next start, blocked. */
export async function endOrphans(name: string): Promise<void> {
  const deadline = performance.now() + 10_000
  const patience = performance.now() + 1_000
  while (performance.now() < deadline) {
    const { postmaster, backends } = await serverProcesses(name)
    const left = postmaster === undefined ? backends : [postmaster, ...backends]
    if (left.length === 0) return
    if (performance.now() > patience) for (const pid of left) signal(pid, 'SIGKILL')
    await sleep(20)
  }
}

/** Sends a signal to a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself in the meantime, which is what was wanted.
  }
}

async function gone(postmaster: number, name: string, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs
  while ((await serverProcesses(name)).postmaster === postmaster) {
    if (performance.now() > deadline) return false
    await sleep(20)
  }
  return true
}

async function commands(): Promise<{ pid: number; command: string }[]> {
  return process.platform === 'linux' ? commandsFromProc() : commandsFromPs()
}

async function commandsFromProc(): Promise<{ pid: number; command: string }[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))
  return await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      return { pid: Number(pid), command: line.replaceAll('\0', ' ').trimEnd() }
    }),
  )
}

async function commandsFromPs(): Promise<{ pid: number; command: string }[]> {
  const { stdout } = await promisify(execFile)('ps', ['-axww', '-o', 'pid=,command='], { maxBuffer: 64 * 1024 * 1024 })
  return stdout.split('\n').flatMap((line) => {
    const [, pid, command] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? []
    return pid === undefined || command === undefined ? [] : [{ pid: Number(pid), command }]
  })
}

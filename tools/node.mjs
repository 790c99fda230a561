#!/usr/bin/env node
/**
 * Runs a file under the Node that this repository pins, whatever Node started it (20 or later), and first installs what
 * is missing: `node tools/node.mjs src/cli/main.ts start --demo`. Arguments, signals and the exit code pass through.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { constants as system } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const pinned = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')

if (!isInstalled()) install()

// Types are stripped once for each file, not at every start: that halves the time until a verb begins.
const cache = process.env.NODE_COMPILE_CACHE ?? join(root, 'node_modules', '.cache', 'compiled')
const child = spawn(pinned, process.argv.slice(2), {
  stdio: 'inherit',
  env: { ...process.env, NODE_COMPILE_CACHE: cache },
  shell: process.platform === 'win32',
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  process.stderr.write(`${pinned} cannot be run: ${error.message}\n`)
  process.exit(1)
})
child.on('exit', (code, signal) => process.exit(code ?? 128 + (system.signals[signal] ?? 0)))

/** Whether every package that the lock file asks for is there, as npm wrote down when it installed them. */
function isInstalled() {
  try {
    accessSync(pinned, constants.X_OK)
    const wanted = packagesIn('package-lock.json')
    const there = packagesIn('node_modules/.package-lock.json')
    // one that is optional may be for another platform
    return Object.entries(wanted).every(
      ([path, { version, optional }]) => path === '' || optional === true || there[path]?.version === version,
    )
  } catch {
    return false
  }
}

function packagesIn(path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8')).packages
}

// All that is said goes to stderr: what the file prints may be read by a program.
function install() {
  process.stderr.write('installing what is missing; this happens once, and takes a minute\n')
  // Some npm refuse a lock file that leaves out packages of other platforms; what it does name is installed as it says.
  if (npm(['ci'], 'ignore') && isInstalled()) return
  if (npm(['install', '--no-save'], 2) && isInstalled()) return
  process.stderr.write('npm did not install everything; see above for why\n')
  process.exit(1)
}

function npm(args, output) {
  // npm itself when it started us, so that it is found whatever the PATH says
  const itself = process.env.npm_execpath?.endsWith('.js') ? process.env.npm_execpath : undefined
  const command = itself === undefined ? 'npm' : process.execPath
  const { status, error } = spawnSync(command, itself === undefined ? args : [itself, ...args], {
    cwd: root,
    stdio: ['ignore', output, output],
    shell: process.platform === 'win32',
  })
  if (error !== undefined) process.stderr.write(`npm cannot be run: ${error.message}\n`)
  return status === 0
}

/**
 * Completes package-lock.json: a registry that lacks a package for another platform makes npm leave it out of the lock
 * file, and `npm ci` then refuses the file, or installs nothing there. Run it after each change of dependencies.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const path = 'package-lock.json'
const lock = JSON.parse(readFileSync(path, 'utf8'))
const cpus = ['arm64', 'x64', 'arm', 'ia32', 'ppc64']

for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const at = `node_modules/${name}`
    if (lock.packages[at] !== undefined) continue
    const parts = name.split(/[-/]/)
    const os = ['android', 'darwin', 'linux', 'win32', 'windows'].find((word) => parts.includes(word))
    const cpu = cpus.find((word) => parts.includes(word))
    if (os === undefined || cpu === undefined) throw new Error(`for which platform is ${name}?`)
    lock.packages[at] = {
      version: version.replace(/^[\^~]/, ''),
      cpu: [cpu],
      ...(entry.dev ? { dev: true } : {}),
      ...(parts.includes('musl') ? { libc: ['musl'] } : {}),
      optional: true,
      os: [os === 'windows' ? 'win32' : os],
    }
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)

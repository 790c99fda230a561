/** Loaded into the Node programs of a bench: says at their end what they held at most, in MB, and their processor seconds. */
import { writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const path = process.env['BENCH_COST']
if (isMainThread && path !== undefined) {
  process.on('exit', () => {
    const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage()
    writeFileSync(`${path}.${process.pid}`, `${(maxRSS * 1024) / 1e6} ${(userCPUTime + systemCPUTime) / 1e6}`)
  })
}

#!/usr/bin/env node
import { enableCompileCache } from 'node:module'
import { setFlagsFromString } from 'node:v8'

// What Node makes of the sources is kept among the system's temporary files, which halves the time of a start. What is
// imported in the usual way would be compiled before this line.
enableCompileCache()
// Sockets are read into buffers of 64 kB outside the heap. V8 would look through all of the heap whenever 64 MB of them have
// come, 43 times for 3 million messages of Kafka; with this they count as the heap does, which grows before that.
setFlagsFromString('--external-memory-accounted-in-global-limit')
const { runCommandLine } = await import('./command-line.ts')
await runCommandLine(process.argv.slice(2))

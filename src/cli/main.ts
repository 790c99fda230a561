#!/usr/bin/env node
import { enableCompileCache } from 'node:module'

// What Node makes of the sources is kept among the system's temporary files, which halves the time of a start. What is
// imported in the usual way would be compiled before this line.
enableCompileCache()
const { runCommandLine } = await import('./command-line.ts')
await runCommandLine(process.argv.slice(2))

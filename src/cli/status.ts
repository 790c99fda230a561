import { setTimeout as sleep } from 'node:timers/promises'
import { leftAloneInWords } from '../sources/files/waiting.ts'
import { hasCluster, openDatabase, readConfig } from './open.ts'
import {
  type DatabaseStanding,
  type PipelineStanding,
  type Standing,
  standing,
  stateInWords,
  stateOf,
  trouble,
} from './standing.ts'
import { counted, duration, labelledLines, number, printable } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

const watchMs = 2000

export const status: Verb = {
  says: 'Shows what runs, how far it is, what waits, and how psql connects.',
  usage: '[--watch] [--json]',
  options: {
    watch: { type: 'boolean', says: 'show it anew every two seconds, until stopped' },
    ...jsonOption,
  },
  examples: ['millrace status', 'millrace status --watch', 'millrace status --json'],
  async run({ words, options, signal, out }) {
    noWords(words)
    const { config, log } = readConfig()
    // held while watching, or it would start and stop each time
    await using _held =
      options['watch'] === true && (await hasCluster(config)) ? await openDatabase(config, log) : undefined
    for (;;) {
      const now = await standing(config, log, signal)
      const text = options['json'] === true ? JSON.stringify(asJson(now)) : statusLines(now, new Date()).join('\n')
      if (options['watch'] === true && process.stdout.isTTY === true) process.stdout.write('\u001b[H\u001b[2J')
      out(text)
      if (options['watch'] !== true) return now.database.fault === undefined ? 0 : 1
      await sleep(watchMs, undefined, { signal }).catch(() => {})
      if (signal.aborted) return 0
    }
  },
}

export function statusLines({ database, server, pipelines }: Standing, now: Date): string[] {
  const lines: string[] = []
  for (const pipeline of pipelines) lines.push(...pipelineLines(pipeline, database, now), '')
  lines.push('server')
  if (server === undefined) lines.push('  does not run on this data directory: `millrace start`')
  else lines.push(`  ${server.url} (pid ${server.pid})${server.answers ? '' : ', which does not answer'}`)
  lines.push('', database.embedded ? 'database, embedded' : 'database')
  if (database.fault !== undefined) lines.push(...database.fault.split('\n').map((line) => `  ${line}`))
  else if (database.access === undefined) lines.push('  there is none yet; the first start makes it')
  if (database.access !== undefined) {
    const { host, port, user, database: name, password, url } = database.access
    lines.push(
      ...labelledLines([
        ['host', host],
        ['port', String(port)],
        ['user', user],
        ['database', name],
        // whoever set the address knows the password, and it need not stand on a screen
        ['password', database.embedded ? password : 'as configured'],
      ]),
    )
    if (database.embedded)
      lines.push('', `  psql "${url}"`, ...(server ? [] : ['  (it runs only while a process of Millrace does)']))
  }
  return lines
}

function pipelineLines(standing: PipelineStanding, database: DatabaseStanding, now: Date): string[] {
  const { pipeline, stored, files, folders } = standing
  const why = trouble(standing)
  const pairs: [string, string][] = []
  if (why !== undefined) pairs.push(['why', why.split('\n').map(printable).join('\n')])
  if (stored !== undefined) {
    const ago =
      stored.lastCommittedAt === null ? '' : `, ${duration(now.getTime() - stored.lastCommittedAt.getTime())} ago`
    pairs.push([
      'last batch',
      stored.batch === 0 ? 'none yet' : `${number(stored.batch)}${ago} (epoch ${stored.epoch})`,
    ])
    const { rowsIn, written, filtered, duplicates, late, dead } = stored
    pairs.push(['rows', `${number(rowsIn)} in`])
    for (const [verdict, rows] of Object.entries({ written, filtered, duplicates, late, dead })) {
      pairs.push(['', `${number(rows).padStart(number(rowsIn).length)} ${verdict}`])
    }
    pairs.push([
      'dead letters',
      `${number(stored.deadLettersOpen)} open${stored.deadLettersOpen > 0 ? ': `millrace dead-letters list`' : ''}`,
    ])
    if (stored.filesQuarantined > 0) pairs.push(['quarantined', counted(stored.filesQuarantined, 'file')])
  }
  const claimed = files.claimed === 0 ? '' : `, ${number(files.claimed)} more claimed`
  pairs.push(['waiting', `${counted(files.waiting, 'file')}${claimed}, in ${folders.join(', ')}`])
  if (files.leftAlone.length > 0) pairs.push(['left alone', printable(leftAloneInWords(files.leftAlone))])
  return [`${pipeline}: ${stateInWords(standing, database)}`, ...labelledLines(pairs)]
}

function asJson({ database, server, pipelines }: Standing): unknown {
  return {
    pipelines: pipelines.map((standing) => ({
      pipeline: standing.pipeline,
      state: stateOf(standing, database),
      why: trouble(standing) ?? null,
      owner: standing.stored?.owner ?? null,
      alive: standing.stored?.alive ?? null,
      lent_by: standing.stored?.lentBy ?? null,
      epoch: standing.stored?.epoch ?? null,
      batch: standing.stored?.batch ?? null,
      last_committed_at: standing.stored?.lastCommittedAt ?? null,
      rows_in: standing.stored?.rowsIn ?? null,
      written: standing.stored?.written ?? null,
      filtered: standing.stored?.filtered ?? null,
      duplicates: standing.stored?.duplicates ?? null,
      late: standing.stored?.late ?? null,
      dead: standing.stored?.dead ?? null,
      dead_letters_open: standing.stored?.deadLettersOpen ?? null,
      files_quarantined: standing.stored?.filesQuarantined ?? null,
      files_waiting: standing.files.waiting,
      files_claimed: standing.files.claimed,
      left_alone: standing.files.leftAlone,
    })),
    server: server ?? null,
    database: {
      answers: database.fault === undefined,
      why: database.fault ?? null,
      embedded: database.embedded,
      ...(database.access === undefined || database.embedded
        ? database.access
        : { ...database.access, password: null, url: null }),
    },
  }
}

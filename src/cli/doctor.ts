import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { findings } from './doctor-checks.ts'
import { faults } from './faults.ts'
import { type Finding, found } from './finding.ts'
import { readConfig } from './open.ts'
import { counted, padded, wrapped } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const doctor: Verb = {
  says: 'Looks at everything Millrace needs, and says what is wrong and how to mend it.',
  usage: '[--list] [--json]',
  options: {
    list: { type: 'boolean', says: 'print every fault it knows: code, meaning, and how it is mended' },
    ...jsonOption,
  },
  examples: ['millrace doctor', 'millrace doctor --json', 'millrace doctor --list'],
  async run({ words, options, out }) {
    noWords(words)
    const json = options['json'] === true
    if (options['list'] === true) {
      const known = Object.entries(faults)
      if (json) for (const [code, fault] of known) out(JSON.stringify({ code, ...fault }))
      else out(faultList().join('\n'))
      return 0
    }
    const all = await examine(json ? (finding) => out(JSON.stringify(finding)) : (finding) => out(lines(finding)))
    const serious = all.filter(({ is }) => is === 'fault').length
    const warnings = all.filter(({ is }) => is === 'warning').length
    if (!json) {
      out('')
      out(serious + warnings === 0 ? 'all is well' : `${counted(serious, 'fault')}, ${counted(warnings, 'warning')}`)
    }
    return serious > 0 ? 1 : 0
  },
}

// A configuration that cannot be read is a finding too, and the only one.
async function examine(say: (finding: Finding) => void): Promise<Finding[]> {
  const all: Finding[] = []
  const note = (finding: Finding): void => {
    all.push(finding)
    say(finding)
  }
  let read: { config: Config; log: Log }
  try {
    read = readConfig({ quiet: true })
  } catch (error) {
    note(found('SETTINGS_UNREADABLE', String(error)))
    return all
  }
  for await (const finding of findings(read.config, read.log)) note(finding)
  return all
}

const marks = { ok: 'ok     ', warning: 'WARNING', fault: 'FAULT  ' } as const
const indent = 25

function lines({ name, is, code, says, mend }: Finding): string {
  // a terminal is told in words; what is read by another program is not broken
  const room = (process.stdout.columns || Number.POSITIVE_INFINITY) - indent
  const told = [
    ...says.split('\n').flatMap((line) => wrapped(line, room)),
    ...(mend === undefined ? [] : wrapped(`-> ${mend}`, room)),
    ...(code === undefined ? [] : [`(${code})`]),
  ]
  return told
    .map((line, i) => `${i === 0 ? `${marks[is]}  ${padded(name, indent - 11)}  ` : ' '.repeat(indent)}${line}`)
    .join('\n')
}

/** Every fault, for people, in 80 columns. */
export function faultList(): string[] {
  const told = Object.entries(faults).flatMap(([code, { name, is, means, mend }]) => [
    `${code}  (${is}, of: ${name})`,
    ...wrapped(means, 75).map((line) => `    ${line}`),
    ...wrapped(`-> ${mend}`, 75).map((line) => `    ${line}`),
    '',
  ])
  return told.slice(0, -1)
}

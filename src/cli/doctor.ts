import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { findings } from './doctor-checks.ts'
import type { Finding } from './finding.ts'
import { readConfig } from './open.ts'
import { counted, labelledLines } from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

export const doctor: Verb = {
  says: 'Looks at everything Millrace needs, and says what is wrong and how to mend it.',
  usage: '[--json]',
  options: { ...jsonOption },
  examples: ['millrace doctor', 'millrace doctor --json'],
  async run({ words, options, out }) {
    noWords(words)
    const found = await examine(
      options['json'] === true ? (finding) => out(JSON.stringify(finding)) : (finding) => out(lines(finding)),
    )
    const faults = found.filter(({ is }) => is === 'fault').length
    const warnings = found.filter(({ is }) => is === 'warning').length
    if (options['json'] !== true) {
      out('')
      out(faults + warnings === 0 ? 'all is well' : `${counted(faults, 'fault')}, ${counted(warnings, 'warning')}`)
    }
    return faults > 0 ? 1 : 0
  },
}

// A configuration that cannot be read is a finding too, and the only one.
async function examine(say: (finding: Finding) => void): Promise<Finding[]> {
  const found: Finding[] = []
  const note = (finding: Finding): void => {
    found.push(finding)
    say(finding)
  }
  let read: { config: Config; log: Log }
  try {
    read = readConfig({ quiet: true })
  } catch (error) {
    note({
      name: 'settings',
      is: 'fault',
      says: String(error),
      mend: 'mend the variable; `millrace config --env-example` lists them all',
    })
    return found
  }
  for await (const finding of findings(read.config, read.log)) note(finding)
  return found
}

const marks = { ok: 'ok     ', warning: 'WARNING', fault: 'FAULT  ' } as const

function lines({ name, is, says, mend }: Finding): string {
  const [first = '', ...rest] = says.split('\n')
  const more = [...rest, ...(mend === undefined ? [] : [`-> ${mend}`])]
  return [
    `${marks[is]}  ${labelledLines([[name.padEnd(14), first]], '')[0]}`,
    ...more.map((line) => `${' '.repeat(25)}${line}`),
  ].join('\n')
}

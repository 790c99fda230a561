#!/usr/bin/env node
/**
 * The pages of docs/reference, printed from the code: `npm run reference` writes them, and a test holds them equal. A page
 * more is a function here and a line in `pages`.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systems } from '../pipelines/index.ts'
import { faults } from '../src/cli/faults.ts'
import { verbs } from '../src/cli/verbs.ts'
import { type SettingSpec, variables } from '../src/config.ts'
import { errorCodes } from '../src/errors.ts'
import * as arithmetic from '../src/functions/arithmetic.ts'
import * as boolean from '../src/functions/boolean.ts'
import * as comparison from '../src/functions/comparison.ts'
import * as conditional from '../src/functions/conditional.ts'
import * as conversion from '../src/functions/conversion.ts'
import type { Accepts, Example, FunctionEntry } from '../src/functions/define.ts'
import { functions } from '../src/functions/index.ts'
import * as json from '../src/functions/json.ts'
import * as list from '../src/functions/list.ts'
import * as nulls from '../src/functions/null.ts'
import * as rounding from '../src/functions/rounding.ts'
import * as text from '../src/functions/text.ts'
import * as time from '../src/functions/time.ts'
import { reasons } from '../src/operators/validate.ts'
import { typeName } from '../src/plan/columns.ts'
import { metrics } from '../src/server/metrics.ts'
import { httpCodes } from '../src/server/problem.ts'
import { fileReasons } from '../src/sources/files/reasons.ts'

/** Every page, by its file in docs/reference. */
export const pages = {
  'configuration.md': configuration,
  'functions.md': functionPage,
  'errors.md': errors,
  'cli.md': cli,
  'doctor.md': doctor,
  'metrics.md': metricsPage,
} as const satisfies Record<string, () => string>

// ---- metrics -------------------------------------------------------------------------------------------------------

function metricsPage(): string {
  return page(
    'Metrics',
    `\`GET /metrics\` answers in the text format of Prometheus; where the server has access tokens, with one that may read. Durations
are seconds, and every counter starts anew with the process but \`millrace_rows_total\`, which is read from the ledger. Beside
these there are the usual ones of a process: \`process_*\` and \`nodejs_*\`.`,
    table(
      ['metric', 'kind', 'labels', 'meaning'],
      Object.entries(metrics).map(([name, { is, labels, says }]) => [code(name), is, labels.join(', '), says]),
    ),
  )
}

// ---- configuration -------------------------------------------------------------------------------------------------

function configuration(): string {
  return page(
    'Configuration',
    `Variables of the environment, or of a file \`.env\` in the folder that a command is called in; the real environment wins.
An empty value counts as none. \`millrace config\` prints what they became and where each came from, with secrets masked;
\`millrace config --env-example\` prints a file to start from.

A duration is written \`250 ms\`, \`10 seconds\` or \`24 hours\`, and a bare number is seconds; a size is written \`64 MB\` or
\`1 GiB\`, and a bare number is bytes; a switch is \`on\` or \`off\`. A relative folder lies under \`MILLRACE_DATA\`.`,
    section('Millrace', settings(variables)),
    ...systems
      .filter((system) => Object.keys(system.settings).length > 0)
      .map((system) => section(system.name, settings(system.settings))),
    section(
      'TLS',
      `As libpq has it: in the address, or else as a variable. Where both are set and differ, the address is used and a warning
says so.

${table(
  ['parameter', 'variable', 'meaning'],
  [
    ['`sslmode`', '`PGSSLMODE`', '`disable`, `allow`, `prefer` (the default), `require`, `verify-ca` or `verify-full`'],
    ['`sslrootcert`', '`PGSSLROOTCERT`', 'PEM file with the authority that must have signed the server’s certificate'],
    ['`sslcert`', '`PGSSLCERT`', 'PEM file with the certificate of the client'],
    ['`sslkey`', '`PGSSLKEY`', 'PEM file with its key'],
    ['`sslnegotiation`', '`PGSSLNEGOTIATION`', '`direct`: TLS from the first byte on, without asking'],
  ],
)}`,
    ),
  )
}

function settings(specs: Record<string, SettingSpec>): string {
  return table(
    ['variable', 'type', 'default', 'meaning'],
    Object.entries(specs).map(([name, spec]) => [
      code(name),
      spec.choices === undefined ? spec.type : spec.choices.map((choice) => code(choice)).join(', '),
      spec.default === '' ? '' : code(spec.default),
      spec.says,
    ]),
  )
}

// ---- functions -----------------------------------------------------------------------------------------------------

const topics: [title: string, module: Record<string, unknown>][] = [
  ['Comparison', comparison],
  ['Boolean', boolean],
  ['Arithmetic', arithmetic],
  ['Rounding', rounding],
  ['Text', text],
  ['Time', time],
  ['Conversion', conversion],
  ['Null', nulls],
  ['Conditional', conditional],
  ['JSON', json],
  ['List', list],
]

function functionPage(): string {
  const all: FunctionEntry[] = Object.values(functions).map(({ entry }) => entry)
  const sections = topics.map(([title, module]) => {
    const here = all.filter(({ name }) => Object.hasOwn(module, name))
    return { names: here.map(({ name }) => name), text: section(title, ...here.map(functionText)) }
  })
  const lost = all.filter(({ name }) => !sections.some(({ names }) => names.includes(name))).map(({ name }) => name)
  if (lost.length > 0) throw new Error(`these functions belong to no topic: ${lost.join(', ')}`)
  return page(
    'Functions',
    `What expressions can call: ${all.length} functions. Those that compare and reckon are methods of values too:
\`row.price.atLeast(10)\`. The examples are run in DuckDB by the tests; a call with a null is null unless it says otherwise.

${sections.map(({ names }, i) => `- ${topics[i]?.[0]}: ${names.map((name) => `[\`${name}\`](#${name.toLowerCase()})`).join(', ')}`).join('\n')}`,
    ...sections.map((each) => each.text),
  )
}

function functionText(entry: FunctionEntry): string {
  const { name, says, examples } = entry
  return [
    `### ${name}`,
    `\`${signature(entry)}\``,
    says,
    table(
      ['example', 'result'],
      examples.map((example) => [code(call(name, example)), code(literal(example.out))]),
    ),
  ].join('\n\n')
}

function signature({ name, args, variadic, optional = 0, result }: FunctionEntry): string {
  const told = args.map((accepts, i) => {
    const last = i === args.length - 1
    const word = acceptedText(accepts)
    if (variadic && last) return `...${word}`
    return i >= args.length - optional ? `[${word}]` : word
  })
  const answer = typeof result === 'function' ? 'as its arguments' : typeName(result)
  return `${name}(${told.join(', ')}): ${answer}`
}

function acceptedText(accepts: Accepts): string {
  if (typeof accepts === 'object')
    return 'anyOf' in accepts ? accepts.anyOf.join(' or ') : `constant ${accepts.constant}`
  switch (accepts) {
    case 'same':
    case 'alike':
    case 'any':
      return 'any'
    case 'ordered':
      return 'any with an order'
    case 'text':
    case 'boolean':
    case 'integer':
    case 'number':
    case 'timestamp':
    case 'json':
    case 'list':
    case 'list of text':
    case 'element':
      return accepts
  }
}

// A value is followed by its type where the two can be told apart only by that.
function call(name: string, { in: operands, types = [] }: Example): string {
  const told = operands.map((operand, i) => {
    const type = types[i]
    const plain = type === undefined || type.is === 'text' || type.is === 'boolean' || type.is === 'integer'
    return plain && operand !== null
      ? literal(operand)
      : `${literal(operand)}${type === undefined ? '' : ` as ${typeName(type)}`}`
  })
  return `${name}(${told.join(', ')})`
}

function literal(value: unknown): string {
  return JSON.stringify(value) ?? 'null'
}

// ---- errors --------------------------------------------------------------------------------------------------------

function errors(): string {
  return page(
    'Errors',
    `An error says what happened, where, and what to do next. It begins with one of these codes. A command ends with 0 when it
has done what was asked, with 1 when it has not, and with 2 when it was asked wrongly. Dead letters and quarantined files
are data, and change no exit code.`,
    section('Codes', codeTable(errorCodes)),
    section(
      'Reasons of dead letters',
      `Why a row was refused: the column \`code\` of \`millrace.dead_letters\`. [Dead letters](../dead-letters.md) says what can be
done with them. A pipeline may have rules of its own, with codes of its own.

${codeTable(reasons)}`,
    ),
    section(
      'Answers of the server',
      `Beside the codes above, problem+json has these; [the API](../how-to/api.md) says more.

${codeTable(httpCodes)}`,
    ),
    section(
      'Reasons of quarantined files',
      `Why a file was put aside whole: the column \`code\` of \`millrace.files\`. [Files](../how-to/files.md) says what one may hold.

${codeTable(fileReasons)}`,
    ),
    section('Faults that doctor finds', `They have [a page of their own](doctor.md).`),
  )
}

function codeTable(codes: Record<string, string>): string {
  return table(
    ['code', 'meaning'],
    Object.entries(codes).map(([name, says]) => [code(name), says]),
  )
}

// ---- command line --------------------------------------------------------------------------------------------------

function cli(): string {
  return page(
    'Command line',
    `\`millrace <verb> [options]\`, or \`npm run -s millrace -- <verb>\` in this repository. \`--help\` after a verb prints what stands
here; \`--json\` prints for programs, one object a line. \`millrace completions\` teaches your shell all of it.

${table(
  ['verb', 'does'],
  Object.entries(verbs).map(([name, { says }]) => [`[\`${name}\`](#millrace-${name.replaceAll(' ', '-')})`, says]),
)}`,
    ...Object.entries(verbs).map(([name, { says, usage, options, examples }]) =>
      section(
        `millrace ${name}`,
        says,
        code(`millrace ${name} ${usage}`),
        ...(Object.keys(options).length === 0
          ? []
          : [
              table(
                ['option', 'meaning'],
                Object.entries(options).map(([option, spec]) => [code(`--${option}`), spec.says]),
              ),
            ]),
        `Examples:\n\n${examples.map((example) => `- ${code(example)}`).join('\n')}`,
      ),
    ),
  )
}

// ---- doctor --------------------------------------------------------------------------------------------------------

function doctor(): string {
  return page(
    'Faults that doctor finds',
    `\`millrace doctor\` looks at everything Millrace needs, and names what is wrong by one of these codes; it ends with 1 when
there is a fault, and a warning alone is none. \`millrace doctor --list\` prints this table.`,
    ...Object.entries(faults).map(([name, { name: subject, is, means, mend }]) =>
      [`## ${name}`, `A ${is} of: ${subject}. ${means}`, `**Mend:** ${mend}`].join('\n\n'),
    ),
  )
}

// ---- Markdown ------------------------------------------------------------------------------------------------------

function page(title: string, lead: string, ...sections: string[]): string {
  const origin = '<!-- Printed by `npm run reference`: change the code, not this page. -->'
  return `${[`# ${title}`, origin, lead, ...sections].join('\n\n')}\n`
}

function section(title: string, ...parts: string[]): string {
  return [`## ${title}`, ...parts].join('\n\n')
}

function table(titles: string[], rows: string[][]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')))
  const widths = titles.map((title, i) => Math.max(3, title.length, ...cells.map((row) => row[i]?.length ?? 0)))
  const line = (row: string[]): string => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`
  return [line(titles), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n')
}

// With as many ticks as the text needs around it.
function code(content: string): string {
  return content.includes('`') ? `\`\` ${content} \`\`` : `\`${content}\``
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..', 'docs', 'reference')
  mkdirSync(folder, { recursive: true })
  for (const [name, print] of Object.entries(pages)) writeFileSync(join(folder, name), print())
}

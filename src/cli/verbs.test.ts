import assert from 'node:assert/strict'
import { test } from 'node:test'
import { find, helpOf, overview, verbs } from './verbs.ts'

test('every verb says what it does, what its options mean, and how it is called', () => {
  for (const [name, verb] of Object.entries(verbs)) {
    const help = helpOf(name, verb)
    assert.match(verb.says, /^[A-Z].*\.$/, name)
    assert.ok(verb.examples.length > 0, `${name} has no example`)
    for (const example of verb.examples) assert.match(example, new RegExp(`millrace ${name}\\b`), name)
    for (const option of Object.keys(verb.options)) {
      assert.ok(help.includes(`--${option}`), `${name} --${option}`)
      assert.ok(verb.usage.includes(`--${option}`) || option === 'once', `the usage of ${name} lacks --${option}`)
    }
    for (const line of help.split('\n')) assert.ok(line.length < 80 || line.startsWith('  millrace'), line)
  }
})

test('the overview names every verb, in 80 columns', () => {
  for (const name of Object.keys(verbs)) assert.ok(overview().includes(`  ${name} `), name)
  for (const line of overview().split('\n')) assert.ok(line.length < 80, line)
})

test('a verb is found by its name, and by both words when it has two', () => {
  const names = (args: string[]): unknown[] => {
    const found = find(args)
    return found.is === 'verb' ? [found.name, ...found.rest] : [found.is]
  }
  assert.deepEqual(names(['sql', 'select 1', '--json']), ['sql', 'select 1', '--json'])
  assert.deepEqual(names(['dead-letters', 'show', '7']), ['dead-letters show', '7'])
  assert.deepEqual(names(['toString']), ['unknown'])
})

test('help is found wherever it is asked for, and what is asked for wrongly ends with 2', () => {
  const cases: [string[], 'help' | 'unknown', number | undefined, RegExp][] = [
    [[], 'help', 2, / millrace <verb>/],
    [['--help'], 'help', 0, / millrace <verb>/],
    [['help', 'sql'], 'help', 0, /millrace sql/],
    [['run', 'shop-events', '-h'], 'help', 0, /millrace run/],
    [['dead-letters'], 'help', 2, /dead-letters list/],
    [['dead-letters', '--help'], 'help', 0, /dead-letters list/],
    [['dead-letters', 'reply', '--help'], 'unknown', undefined, /did you mean "dead-letters replay"/],
    [['--version'], 'help', 0, /^millrace \d+\.\d+\.\d+\n$/],
    [['statsu'], 'unknown', undefined, /did you mean "status"/],
  ]
  for (const [args, is, exitCode, says] of cases) {
    const found = find(args)
    assert.equal(found.is, is, args.join(' '))
    if (found.is === 'help') assert.equal(found.exitCode, exitCode)
    assert.match(found.text, says)
  }
})

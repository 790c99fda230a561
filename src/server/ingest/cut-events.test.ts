import assert from 'node:assert/strict'
import { test } from 'node:test'
import { maxDepth } from '../../sources/json-scanner.ts'
import { type BodyForm, cutEvents, faultsTold, mostEvents } from './cut-events.ts'

const limit = 2000

function cut(body: string | Buffer, form: BodyForm = 'json') {
  const bytes = Buffer.from(body)
  const { spans, faults } = cutEvents(bytes, form, limit)
  const events = Array.from({ length: spans.length / 2 }, (_, n) =>
    bytes.toString('utf8', spans[2 * n], spans[2 * n + 1]),
  )
  return { events, faults }
}

const deep = (depth: number): string => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
const nearLimit = `{"a":"${'x'.repeat(limit - 8)}"}`

const good: { says: string; body: string; form?: BodyForm; events: string[] }[] = [
  { says: 'an object', body: ' {"a":1}\r\n', events: ['{"a":1}'] },
  { says: 'an array', body: '[{"a":1}, {} ,\n{"b":[{}]}]\n', events: ['{"a":1}', '{}', '{"b":[{}]}'] },
  { says: 'an empty array', body: ' [ ] ', events: [] },
  {
    says: 'brackets and escapes in texts',
    body: '[{"a":"]}\\"["},{"ä":"\\u00e4"}]',
    events: ['{"a":"]}\\"["}', '{"ä":"\\u00e4"}'],
  },
  { says: 'lines', body: '{"a":1}\n{"b":2}', form: 'lines', events: ['{"a":1}', '{"b":2}'] },
  {
    says: 'lines that end at CR LF, and blank ones',
    body: '\r\n{"a":1}\r\n\n  \t\r\n {"b":2} \r\n\r\n',
    form: 'lines',
    events: ['{"a":1}', '{"b":2}'],
  },
  { says: 'no lines', body: '', form: 'lines', events: [] },
  { says: 'the deepest that is allowed', body: `[${deep(maxDepth)}]`, events: [deep(maxDepth)] },
  { says: 'the longest that is allowed', body: `[${nearLimit}]`, events: [nearLimit] },
]
for (const { says, body, form, events } of good) {
  test(`events are cut out of ${says}`, () => assert.deepEqual(cut(body, form), { events, faults: [] }))
}

const bad: {
  says: string
  body: string | Buffer
  form?: BodyForm
  faults: [index: number, code: string, line?: number][]
}[] = [
  { says: 'nothing', body: ' ', faults: [[0, 'NOT_JSON']] },
  { says: 'no JSON', body: 'events', faults: [[0, 'NOT_JSON']] },
  { says: 'two objects', body: '{}\n{}', faults: [[0, 'NOT_JSON']] },
  { says: 'an array that does not end', body: '[{},{}', faults: [[2, 'NOT_JSON']] },
  { says: 'an array with a comma too many', body: '[{},]', faults: [[1, 'NOT_JSON']] },
  { says: 'something behind an array', body: '[{}] x', faults: [[1, 'NOT_JSON']] },
  { says: 'an array cut short inside a text', body: '[{},{"a":"b', faults: [[1, 'NOT_JSON']] },
  {
    says: 'what is no object, each by its place',
    body: '[{},1,{},"x",null,[]]',
    faults: [1, 3, 4, 5].map((n) => [n, 'NOT_AN_OBJECT']),
  },
  {
    says: 'a broken event: what follows cannot be known',
    body: '[1,{"a":},2]',
    faults: [
      [0, 'NOT_AN_OBJECT'],
      [1, 'NOT_JSON'],
    ],
  },
  { says: 'what is too deep', body: `[{},${deep(maxDepth + 1)}]`, faults: [[1, 'TOO_DEEP']] },
  { says: 'what is too long', body: `[{},${nearLimit.replace('x', 'xx')}]`, faults: [[1, 'ROW_TOO_LONG']] },
  { says: 'what is no UTF-8', body: Buffer.from('[{},{"a":"\xff"},{}]', 'latin1'), faults: [[1, 'INVALID_UTF8']] },
  {
    says: 'lines, each by its number',
    body: '{}\r\n\n{"a"\n[]\n{} {}\n{}\n',
    form: 'lines',
    faults: [
      [1, 'NOT_JSON', 3],
      [2, 'NOT_AN_OBJECT', 4],
      [3, 'NOT_JSON', 5],
    ],
  },
  { says: 'a text that does not end on its line', body: '{"a":"b\n{}', form: 'lines', faults: [[0, 'NOT_JSON', 1]] },
]
for (const { says, body, form, faults } of bad) {
  test(`a body is told what is wrong with it: ${says}`, () => {
    const told = cut(body, form).faults.map(({ index, code, line }) =>
      line === undefined ? [index, code] : [index, code, line],
    )
    assert.deepEqual(told, faults)
  })
}

test('of very many faults the first are told, and of very many events no more than enough are looked at', () => {
  assert.equal(cut(`[${'1,'.repeat(5000)}1]`).faults.length, faultsTold)
  assert.equal(cut('1\n'.repeat(5000), 'lines').faults.length, faultsTold)
  const { events, faults } = cut(`[${'{},'.repeat(mostEvents + 500)}{}]`)
  assert.deepEqual([events.length, faults.length], [mostEvents + 1, 0])
  assert.equal(cut('{}\n'.repeat(mostEvents), 'lines').events.length, mostEvents)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jsonText } from './json-text.ts'

test('what jsonb refuses becomes U+FFFD, in names and in values', () => {
  const cases: [unknown, unknown][] = [
    [{ 'a\0': 'b\0\0c' }, { 'a\ufffd': 'b\ufffd\ufffdc' }],
    [
      ['\ud800', '\udc00\ud83d', '\u{1f600}'],
      ['\ufffd', '\ufffd\ufffd', '\u{1f600}'],
    ],
    // a backslash before the letters of an escape
    ['\\u0000 \\\0 \\\\ud800', '\\u0000 \\\ufffd \\\\ud800'],
    [
      { n: 1, text: 'é\n"' },
      { n: 1, text: 'é\n"' },
    ],
  ]
  for (const [value, expected] of cases) assert.deepEqual(JSON.parse(jsonText(value)), expected)
})

/** Messages that are wrong, each in one way, so that every reason for a dead letter is met. */
import type { SampleMessage } from 'millrace'
import type { Talk } from './streams.ts'

type Fields = Record<string, unknown>
type Spoil = (fields: Fields, timeMs: number) => SampleMessage['value']

const asJson = (fields: Fields): string => JSON.stringify(fields)

const ways: Spoil[] = [
  // no JSON: cut in the middle, or no object
  (fields) => asJson(fields).slice(0, -12),
  (fields) => `${asJson(fields)}${asJson(fields)}`,
  (fields) => `[${asJson(fields)}]`,
  // a wrong type
  (fields) => asJson({ ...fields, ...('viewer_count' in fields ? { viewer_count: 'many' } : { emotes: 'Kappa' }) }),
  (fields) => asJson({ ...fields, stream_id: { name: fields['stream_id'] } }),
  // below what it can be
  (fields) => asJson({ ...fields, ...('viewer_count' in fields ? { viewer_count: -1 } : { user_id: '' }) }),
  // a missing field
  (fields) =>
    asJson({ ...fields, ...('viewer_count' in fields ? { viewer_count: undefined } : { user_id: undefined }) }),
  (fields) => asJson({ ...fields, timestamp: undefined }),
  // an empty stream_id
  (fields) => asJson({ ...fields, stream_id: '' }),
  // a time that is none
  (fields) => asJson({ ...fields, timestamp: 'a moment ago' }),
  (fields) => asJson({ ...fields, timestamp: '2026-02-30T12:00:00Z' }),
  // bytes that are no text
  (fields) =>
    Buffer.concat([
      Buffer.from(`${asJson(fields).slice(0, -1)},"note":"`),
      Buffer.from([0xc3, 0x28]),
      Buffer.from('"}'),
    ]),
  // no value at all
  () => null,
  // nested without end
  (fields) => `${asJson(fields).slice(0, -1)},"reply":${'['.repeat(2000)}${']'.repeat(2000)}}`,
]

export function spoilt(talk: Talk, timeMs: number, random: () => number): SampleMessage['value'] {
  const timestamp = Math.floor(timeMs)
  const fields =
    talk.is === 'viewers'
      ? { stream_id: talk.stream, viewer_count: talk.viewers, timestamp }
      : { stream_id: talk.stream, user_id: talk.user, message: talk.text, timestamp }
  const way = ways[Math.floor(random() * ways.length)]
  return way === undefined ? null : way(fields, timeMs)
}

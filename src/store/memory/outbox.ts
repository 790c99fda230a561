/** Messages that wait to be published, in memory. */

import { readRows } from '../csv-rows.ts'
import type { OutboxMessage, OutboxPage, OutboxPlace, OutboxRows } from '../store.ts'

/** The messages of a batch, in order. */
export async function readMessages(written: OutboxRows[], batch: number): Promise<OutboxMessage[]> {
  const messages: OutboxMessage[] = []
  for (const { rows } of written) {
    for (const { step, topic, n, key, value } of await readRows(rows)) {
      messages.push({ batch, step: step ?? '', topic: topic ?? '', n: Number(n), key: key ?? null, value: value ?? '' })
    }
  }
  return messages.sort((a, b) => (comesAfter(a, b) ? 1 : -1))
}

export function comesAfter(one: OutboxPlace, other: OutboxPlace): boolean {
  if (one.batch !== other.batch) return one.batch > other.batch
  return one.step === other.step ? one.n > other.n : one.step > other.step
}

export function pageOf(
  outbox: OutboxMessage[],
  after: OutboxPlace,
  limits: { rows: number; bytes: number },
): OutboxPage {
  const next = outbox.filter((message) => comesAfter(message, after))
  let bytes = 0
  const end = next.findIndex(({ key, value }, at) => {
    bytes += Buffer.byteLength(value) + Buffer.byteLength(key ?? '')
    return at >= limits.rows || (at > 0 && bytes > limits.bytes)
  })
  const messages = end < 0 ? next : next.slice(0, end)
  return { messages: messages.map((message) => ({ ...message })), more: end >= 0 }
}

/** What a replay could not take again. */
import type { DeadLetter, DeadLetterCount, Store } from '../store/store.ts'

/** New dead letters of the replay batches after one batch and up to another: how many by code, and the first of them. */
export async function deadAgain(
  store: Pick<Store, 'ledger' | 'countDeadLetters' | 'deadLetters'>,
  pipeline: string,
  { after, last, first: wanted }: { after: number; last: number; first: number },
): Promise<{ counts: DeadLetterCount[]; first: DeadLetter[] }> {
  const counts: DeadLetterCount[] = []
  const first: DeadLetter[] = []
  for (const { kind, batch, dead } of await store.ledger(pipeline, { after })) {
    if (kind !== 'replay' || dead === 0 || batch > last) continue
    const those = { pipeline, batch, settled: true }
    counts.push(...(await store.countDeadLetters(those)))
    const room = wanted - first.length
    if (room > 0) first.push(...(await store.deadLetters({ ...those, limit: room })))
  }
  return { counts, first }
}

/** Rows of a stream as texts, by chance: in order and out of it, good and bad, plain and strange. */
import { timestampText } from './reference-times.ts'
import type { Chance, WindowPlan } from './window-plans.ts'

/** A row of a source when the stream has come to `progressMs` and the clock to `nowMs`. */
export function fieldsOf(
  source: string,
  shape: WindowPlan,
  progressMs: number,
  nowMs: number,
  chance: Chance,
): Record<string, string | null> {
  const { pick, maybe } = chance
  const at = timeOf(shape, progressMs, nowMs, chance)
  const who = pick(['a', 'a', 'b', 'Ä', '🙂', `it's "q" \\`])
  const room = pick(['1', '1', '2', '-3'])
  if (source === 'viewers') {
    return { at: timeText(at, false, chance), who, room, viewers: pick(['0', '1', '7', '7', '250', '-1', 'many']) }
  }
  return {
    at: maybe(0.03) ? pick(['yesterday', null, '']) : timeText(at, true, chance),
    who: maybe(0.03) ? '' : who,
    room: maybe(0.03) ? 'x' : room,
    amount: pick([
      '0',
      '1',
      '2',
      '3',
      '3',
      '-5',
      '+7',
      null,
      '9223372036854775807',
      '-9223372036854775807',
      '99999999999',
    ]),
    price: pick(['1.500', '-0.001', '999999.999', null, '0', '0.1', '12.345']),
    wide: pick(['0.5', null, '-123456789012345678.00000000000000000001', '3']),
    ratio: pick(['0.1', '-0', '1e3', '-2.5', '1e19', '1e25', '0.000000000001', '3.3333333333', '123456.789', null]),
    note: pick(['', 'n', 'n', 'ü', '🙂', '\uffff', `it's`, 'a"b\\', ',', '{}', 'NULL', null]),
    tags: pick([
      '[]',
      '[]',
      '["a","b","a"]',
      '["ü","🙂","\uffff"]',
      '["b"]',
      '["{","\\"","\\\\",""]',
      null,
      'nonsense',
    ]),
    flag: pick(['true', 'false', 'true', null]),
  }
}

function timeOf(shape: WindowPlan, progressMs: number, nowMs: number, { pick, random, upTo }: Chance): bigint {
  const { sizeMs, slideMs, outOfOrderMs, futureSkewMs, ends } = shape
  const border = Math.floor(progressMs / slideMs) * slideMs
  const before = (ms: number): bigint => BigInt(progressMs - upTo(ms)) * 1000n
  const chosen = random()
  // within the bound, as nearly all are
  if (chosen < 0.55) return before(outOfOrderMs) + BigInt(pick([0, 0, 1, 999, 500]))
  // on the borders of windows, and a microsecond beside them
  if (chosen < 0.75) return BigInt(border - upTo(2) * slideMs) * 1000n + BigInt(pick([0, 0, -1, 1]))
  // where the watermark may stand, and so that it stands where a window ends
  if (chosen < 0.77) return BigInt(progressMs - outOfOrderMs) * 1000n + BigInt(pick([0, -1, 1]))
  if (chosen < 0.85) {
    const [end] = ends
    // the first window that it closes is the last one of a row at its start
    if (end !== undefined && random() < 0.6) return BigInt(end - sizeMs) * 1000n + BigInt(pick([0, 1]))
    ends[0] = Math.floor((progressMs - outOfOrderMs - sizeMs) / slideMs) * slideMs + sizeMs
    return BigInt(ends[0] + outOfOrderMs) * 1000n
  }
  if (chosen < 0.95) return before(outOfOrderMs + 3 * sizeMs)
  // a clock far ahead, or as far ahead as is trusted
  return BigInt(nowMs + pick([futureSkewMs, futureSkewMs, futureSkewMs - 1, 86_400_000])) * 1000n + BigInt(pick([0, 1]))
}

function timeText(us: bigint, takesEpoch: boolean, { maybe }: Chance): string {
  if (takesEpoch && us % 1000n === 0n && maybe(0.3)) return String(us / 1000n)
  return timestampText(us)
    .replace(' ', maybe(0.5) ? 'T' : ' ')
    .replace('+00', maybe(0.5) ? 'Z' : '+00:00')
}

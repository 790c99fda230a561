/** Headers of a record as Kafka's record format writes them: each a varint length and the name, a varint length and the value. */

const none = Buffer.alloc(0)

export function headerBytes(headers: readonly (readonly [name: string, value: Buffer])[]): Buffer {
  if (headers.length === 0) return none
  return Buffer.concat(
    headers.flatMap(([name, value]) => {
      const text = Buffer.from(name)
      return [varint(text.length), text, varint(value.length), value]
    }),
  )
}

// Kafka's varints are zigzag: a length is doubled, since the odd ones stand for negative numbers.
function varint(length: number): Buffer {
  const bytes: number[] = []
  let rest = length * 2
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  bytes.push(rest)
  return Buffer.from(bytes)
}

/** The headers of a record. */
export function readHeaders(bytes: Buffer, at: { headers: number; headersFrom: number }): [string, Buffer | null][] {
  let from = at.headersFrom
  const length = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[from++] ?? 0
      value += (byte & 127) * scale
      if (byte < 128) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
    }
  }
  const part = (): Buffer | null => {
    const size = length()
    if (size < 0) return null
    from += size
    return bytes.subarray(from - size, from)
  }
  const found: [string, Buffer | null][] = []
  for (let i = 0; i < at.headers; i++) found.push([part()?.toString() ?? '', part()])
  return found
}

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

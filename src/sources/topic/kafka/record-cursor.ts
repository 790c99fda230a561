/** Goes through bytes that hold varints, as Kafka's records are written. */
export class RecordCursor {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  end = 0

  over(bytes: Buffer, from: number, to: number): void {
    this.bytes = bytes
    this.at = from
    this.end = to
  }

  /** A zigzag varint of at most 32 bits. */
  varint(): number {
    // as: behind the end it is undefined, which counts as 0 and ends the number; whoever reads checks where that led
    let byte = this.bytes[this.at++] as number
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let value = byte & 0x7f
    for (let shift = 7; byte >= 0x80; shift += 7) {
      if (shift > 28) throw new Error('a number has more than 32 bits')
      byte = this.bytes[this.at++] as number
      value |= (byte & 0x7f) << shift
    }
    return (value >>> 1) ^ -(value & 1)
  }

  /** A zigzag varint of at most 64 bits: exact where a number can be. */
  varlong(): number {
    let byte = this.bytes[this.at++] as number
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let value = byte & 0x7f
    for (let scale = 128, count = 1; byte >= 0x80; scale *= 128, count++) {
      if (count > 9) throw new Error('a number has more than 64 bits')
      byte = this.bytes[this.at++] as number
      value += (byte & 0x7f) * scale
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}

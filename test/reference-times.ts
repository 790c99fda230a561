/** Moments as the reference writes them: microseconds since 1970, and texts. */

/** The last moment of JavaScript's clock. */
export const endOfTime = 8_640_000_000_000_000

/** Microseconds since 1970 of a timestamp as the reference writes it. */
export function microseconds(text: string): bigint {
  const [, seconds = '', fraction = ''] = /^(.{19})(?:\.([0-9]+))?\+00$/.exec(text) ?? []
  return BigInt(Date.parse(`${seconds.replace(' ', 'T')}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'))
}

export function timestampText(us: bigint): string {
  const seconds = floorBy(us, 1_000_000n)
  const fraction = String(us - seconds * 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const text = new Date(Number(seconds) * 1000).toISOString().slice(0, 19).replace('T', ' ')
  return `${text}${fraction === '' ? '' : `.${fraction}`}+00`
}

/** Whole steps in a number, also a negative one. */
export function floorBy(value: bigint, step: bigint): bigint {
  return (value - (((value % step) + step) % step)) / step
}

import { number } from '../format.ts'

interface SparklineProps {
  values: readonly number[]
  /** As many as fill the width. */
  room: number
  says: string
}

/** A line without axes: how it went lately. */
export function Sparkline({ values, room, says }: SparklineProps) {
  const highest = Math.max(1, ...values)
  const at = (value: number, index: number): string =>
    `${(room - values.length + index).toString()},${(30 - (value / highest) * 27).toFixed(1)}`
  const points = values.map(at).join(' ')
  const first = room - values.length
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${room - 1} 32`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${says}; highest ${number(Math.round(highest))}`}
    >
      <line x1="0" y1="31" x2={room - 1} y2="31" class="spark-base" />
      {values.length > 1 && <polygon class="spark-area" points={`${first},31 ${points} ${room - 1},31`} />}
      {values.length > 1 && <polyline class="spark-line" points={points} />}
    </svg>
  )
}

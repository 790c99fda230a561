/** Where the sources and steps of a plan stand: each in the layer behind all that it reads from. */
import type { PipelineDetails } from '../types.ts'

export interface GraphNode {
  id: string
  kind: 'source' | 'step'
  /** What it does, in a word. */
  op: string
  x: number
  y: number
  width: number
  /** Rows a second that end here, and as what. */
  leaving: { perSecond: number; as: string } | undefined
}

export interface GraphEdge {
  from: string
  to: string
  path: string
  /** The middle, where the rate stands. */
  x: number
  y: number
  perSecond: number | undefined
}

export interface Graph {
  nodes: GraphNode[]
  edges: GraphEdge[]
  width: number
  height: number
}

const widest = 184
export const nodeHeight = 52
const leavingRoom = 30
const gapBeside = 12

// What becomes of rows that go into such a step and do not come out.
const leavesAs: Record<string, string> = {
  validate: 'dead letters',
  filter: 'filtered',
  dedup: 'duplicates',
  table: 'duplicates',
}

type Shape = Pick<PipelineDetails, 'source' | 'steps'>

export function layOut(shape: Shape, room: number): Graph {
  const depths = depthsOf(shape)
  const layers = Map.groupBy(depths.keys(), (id) => depths.get(id) ?? 0)
  const count = layers.size
  const downwards = room < count * widest + (count - 1) * 88
  const most = Math.max(...[...layers.values()].map((ids) => ids.length))
  const width = downwards ? Math.min(widest, (room - 4 - (most - 1) * gapBeside) / most) : widest
  const places = new Map<string, { x: number; y: number }>()
  const slot = nodeHeight + leavingRoom + (downwards ? 40 : 18)
  const gap = downwards ? 0 : Math.min(400, (room - count * width - 4) / Math.max(1, count - 1))
  for (const [depth, ids] of layers) {
    for (const [index, id] of ids.entries()) {
      const shift = index - (ids.length - 1) / 2
      places.set(
        id,
        downwards
          ? { x: room / 2 - width / 2 + shift * (width + gapBeside), y: 2 + depth * slot }
          : { x: 2 + depth * (width + gap), y: 2 + ((most - 1) / 2 + shift) * slot },
      )
    }
  }
  const at = (id: string): { x: number; y: number } => places.get(id) ?? { x: 0, y: 0 }
  const nodes: GraphNode[] = [
    ...shape.source.map(
      ({ id }): GraphNode => ({ id, kind: 'source', op: 'source', ...at(id), width, leaving: undefined }),
    ),
    ...shape.steps.map(
      (step): GraphNode => ({
        id: step.id,
        kind: 'step',
        op: step.op,
        ...at(step.id),
        width,
        leaving: leavingOf(step),
      }),
    ),
  ]
  const edges = shape.steps.flatMap((step) =>
    step.from.map((from): GraphEdge => {
      const feeder = shape.steps.find(({ id }) => id === from)
      const rows = step.from.length === 1 ? (step.rows_in ?? feeder?.rows_out) : feeder?.rows_out
      return {
        from,
        to: step.id,
        ...(downwards ? lineDown(at(from), at(step.id), width) : lineAcross(at(from), at(step.id), width)),
        perSecond: typeof rows === 'number' ? rows / 60 : undefined,
      }
    }),
  )
  return {
    nodes,
    edges,
    width: room,
    height: Math.max(...nodes.map(({ y, leaving }) => y + nodeHeight + (leaving === undefined ? 0 : leavingRoom))) + 4,
  }
}

function depthsOf({ source, steps }: Shape): Map<string, number> {
  const depths = new Map(source.map(({ id }): [string, number] => [id, 0]))
  // a step stands behind all it reads from, and the plan has them in that order
  for (const { id, from } of steps) depths.set(id, 1 + Math.max(0, ...from.map((each) => depths.get(each) ?? 0)))
  return depths
}

function leavingOf({ op, rows_in: rowsIn, rows_out: rowsOut }: PipelineDetails['steps'][number]): GraphNode['leaving'] {
  const as = leavesAs[op]
  if (as === undefined || rowsIn === null || rowsOut === null || rowsIn <= rowsOut) return undefined
  return { perSecond: (rowsIn - rowsOut) / 60, as }
}

interface Point {
  x: number
  y: number
}

function lineAcross(from: Point, to: Point, width: number): { path: string; x: number; y: number } {
  const [x1, y1] = [from.x + width, from.y + nodeHeight / 2]
  const [x2, y2] = [to.x, to.y + nodeHeight / 2]
  const bend = (x2 - x1) / 2
  return { path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, x: (x1 + x2) / 2, y: (y1 + y2) / 2 }
}

function lineDown(from: Point, to: Point, width: number): { path: string; x: number; y: number } {
  const [x1, y1] = [from.x + width / 2, from.y + nodeHeight]
  const [x2, y2] = [to.x + width / 2, to.y]
  const bend = (y2 - y1) / 2
  // not in the middle: there stands what leaves the box above
  return {
    path: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`,
    x: x1 + (x2 - x1) * 0.81,
    y: y1 + (y2 - y1) * 0.68,
  }
}

/** The plan as a picture: boxes are sources and steps, and on the lines stands what flows along them. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { rate } from '../format.ts'
import { deadLettersHref, hrefWith, pipelineHref } from '../route.ts'
import type { PipelineDetails } from '../types.ts'
import { type Graph, type GraphEdge, type GraphNode, layOut, nodeHeight } from './graph-layout.ts'
import { SourceDetails, StepDetails } from './step-details.tsx'

export function Steps({ details, chosen }: { details: PipelineDetails; chosen: string | undefined }) {
  const place = useRef<HTMLDivElement>(null)
  const [room, setRoom] = useState(0)
  useLayoutEffect(() => {
    const box = place.current
    if (box === null) return
    const measure = (): void => setRoom(box.clientWidth)
    measure()
    const watch = new ResizeObserver(measure)
    watch.observe(box)
    return () => watch.disconnect()
  }, [])
  const source = details.source.find(({ id }) => id === chosen)
  const step = details.steps.find(({ id }) => id === chosen) ?? (source === undefined ? details.steps[0] : undefined)
  const shown = source?.id ?? step?.id
  return (
    <>
      <div class="graph" ref={place}>
        {room > 0 && <GraphPicture graph={layOut(details, room)} pipeline={details.pipeline} chosen={shown} />}
      </div>
      <p class="quiet graph-says">Rows a second over the last minute. Choose a box to see what it does.</p>
      {source !== undefined && <SourceDetails source={source} />}
      {step !== undefined && <StepDetails step={step} />}
    </>
  )
}

interface GraphPictureProps {
  graph: Graph
  pipeline: string
  chosen: string | undefined
}

function GraphPicture({ graph, pipeline, chosen }: GraphPictureProps) {
  const { nodes, edges, width, height } = graph
  return (
    // biome-ignore lint/a11y/useSemanticElements: a picture holds no fieldset
    <svg
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="group"
      aria-label={`The steps of ${pipeline}`}
    >
      {edges.map((edge) => (
        <path key={`${edge.from} ${edge.to}`} class="edge" d={edge.path} stroke-width={thickness(edge)} />
      ))}
      {nodes.map((node) => (
        <NodeBox key={node.id} node={node} pipeline={pipeline} isChosen={node.id === chosen} />
      ))}
      {edges.map((edge) => (
        <EdgeRate key={`${edge.from} ${edge.to}`} edge={edge} />
      ))}
    </svg>
  )
}

function NodeBox({ node, pipeline, isChosen }: { node: GraphNode; pipeline: string; isChosen: boolean }) {
  const { id, kind, op, x, y, width, leaving } = node
  const href = hrefWith(pipelineHref(pipeline), { step: id })
  return (
    <>
      <a href={href} class={`node node-${kind}`} aria-current={isChosen ? 'true' : undefined}>
        <rect x={x} y={y} width={width} height={nodeHeight} rx="7" />
        <text class="node-id" x={x + 14} y={y + 22}>
          {shortened(id, width)}
        </text>
        <text class="node-op" x={x + 14} y={y + 39}>
          {op}
        </text>
      </a>
      {leaving !== undefined && (
        <>
          <path
            class={`leaving-line leaving-${leaving.as.replace(' ', '-')}`}
            d={`M${x + 22} ${y + nodeHeight}v14h8`}
          />
          {leaving.as === 'dead letters' ? (
            <a href={deadLettersHref({ pipeline })} class="leaving leaving-dead-letters">
              <text x={x + 36} y={y + nodeHeight + 18}>
                {rate(leaving.perSecond)}/s {leaving.as}
              </text>
            </a>
          ) : (
            <text class="leaving" x={x + 36} y={y + nodeHeight + 18}>
              {rate(leaving.perSecond)}/s {leaving.as}
            </text>
          )}
        </>
      )}
    </>
  )
}

function EdgeRate({ edge }: { edge: GraphEdge }) {
  if (edge.perSecond === undefined) return null
  return (
    <text class="edge-rate" x={edge.x} y={edge.y + 4} text-anchor="middle">
      {rate(edge.perSecond)}/s
    </text>
  )
}

// From a hair for nothing to a stripe for a hundred thousand a second.
function thickness({ perSecond = 0 }: GraphEdge): number {
  return 1.25 + Math.min(5, Math.log10(1 + perSecond))
}

function shortened(id: string, width: number): string {
  // of the fixed width of a letter
  const room = Math.floor((width - 26) / 7.9)
  return id.length > room ? `${id.slice(0, room - 1)}…` : id
}

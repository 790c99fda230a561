/** Lines and bars along an axis, by uPlot, in the colours of the theme. */
import { useEffect, useRef } from 'preact/hooks'
import type uPlot from 'uplot'
import { useCell } from '../cell.ts'
import { number, shortNumber } from '../format.ts'
import { shownTheme } from '../theme.ts'
import type { Chart, Results } from '../types.ts'
import { type Lines, linesOf, type Mark, marksOf } from './chart-data.ts'

type UPlot = typeof uPlot
// It is larger than the rest of the page, and only this view needs it.
let library: Promise<UPlot> | undefined

const height = 230

export function Plot({ chart, results, marks }: { chart: Chart; results: Results; marks?: Results | undefined }) {
  const place = useRef<HTMLDivElement>(null)
  const drawn = useRef<{ plot: uPlot; shape: string }>(undefined)
  const colours = useCell(shownTheme)
  const lines = linesOf(chart, results)
  const marked = useRef<Mark[]>([])
  marked.current = marksOf(chart, marks, lines)
  const shape = JSON.stringify([chart, lines.isTime, lines.series.map(({ name }) => name), colours])

  useEffect(() => {
    let gone = false
    library ??= import('uplot').then((module) => module.default)
    void library.then((Drawing) => {
      const box = place.current
      if (gone || box === null) return
      const data = dataOf(lines)
      if (drawn.current?.shape === shape) {
        drawn.current.plot.setData(data)
        return
      }
      drawn.current?.plot.destroy()
      drawn.current = {
        plot: new Drawing(
          optionsOf(Drawing, chart, lines, box, () => marked.current),
          data,
          box,
        ),
        shape,
      }
    })
    return () => {
      gone = true
    }
  }, [results, marks, shape])

  useEffect(() => {
    const box = place.current
    if (box === null) return
    const watch = new ResizeObserver(() => drawn.current?.plot.setSize({ width: box.clientWidth, height }))
    watch.observe(box)
    return () => {
      watch.disconnect()
      drawn.current?.plot.destroy()
      drawn.current = undefined
    }
  }, [])

  return (
    <>
      <div class="plot" ref={place} role="img" aria-label={inWords(chart, lines, marked.current)} />
      {(lines.series.length > 1 || chart.marks !== undefined) && (
        <ul class="legend">
          {lines.series.map(({ name }, index) => (
            <li key={name}>
              <span class={`key series-${(index % seriesColours) + 1}`} aria-hidden="true" /> {name}
            </li>
          ))}
          {chart.marks !== undefined && (
            <li>
              <span class="key key-mark" aria-hidden="true" /> {chart.marks.says}
            </li>
          )}
        </ul>
      )}
    </>
  )
}

const seriesColours = 6

function dataOf({ x, series }: Lines): uPlot.AlignedData {
  return [x, ...series.map(({ values }) => values)]
}

function optionsOf(Drawing: UPlot, chart: Chart, lines: Lines, box: HTMLElement, marks: () => Mark[]): uPlot.Options {
  const style = getComputedStyle(box)
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim()
  const font = `12px ${style.fontFamily}`
  const axis = { stroke: colour('quiet'), font, grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } }
  const asBars = chart.draws === 'bars' ? Drawing.paths.bars?.({ size: [0.7, 48], align: 0 }) : undefined
  return {
    width: box.clientWidth,
    height,
    tzDate: (seconds) => Drawing.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    legend: { show: false },
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    plugins: [
      readout(chart, lines, marks),
      ...(chart.limit === undefined ? [] : [limitLine(chart.limit, colour, font)]),
      ...(chart.marks === undefined ? [] : [markPoints(marks, colour)]),
    ],
    scales: {
      x: { time: lines.isTime, range: (_, first, last) => widened(first, last, lines, asBars !== undefined) },
      // a limit is seen from below too
      y: {
        range: (_, least, most) => [
          Math.min(least ?? 0, 0) * 1.06,
          (Math.max(most ?? 0, (chart.limit?.value ?? 0) * 1.08) || 1) * 1.06,
        ],
      },
    },
    axes: [
      { ...axis, grid: { show: false }, space: 56, size: 32, ...(lines.isTime ? { values: timeLabels } : {}) },
      { ...axis, size: 58, space: 36, values: (_, splits) => splits.map((value) => axisNumber(value, splits)) },
    ],
    series: [
      {},
      ...lines.series.map(({ name }, index): uPlot.Series => {
        const stroke = colour(`series-${(index % seriesColours) + 1}`)
        return {
          label: name,
          stroke,
          width: asBars === undefined ? 1.75 : 0,
          // a line of one point would not be seen
          points: { show: asBars === undefined && lines.x.length < 3, size: 7, fill: stroke },
          ...(asBars === undefined ? {} : { paths: asBars, fill: stroke }),
          ...(asBars === undefined && lines.series.length === 1 ? { fill: `${stroke}1c` } : {}),
        }
      }),
    ],
  }
}

// With as many decimals as tell it from the one beside it.
function axisNumber(value: number, splits: number[]): string {
  const step = (splits[1] ?? 1) - (splits[0] ?? 0)
  const decimals = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)))
  return decimals === 0 && Number.isInteger(step) ? shortNumber(value) : (value + 0).toFixed(Math.max(1, decimals))
}

// A bar stands around its place, and the first and the last are to be seen whole; one alone stands in the middle.
function widened(first: number, last: number, { x, isTime }: Lines, asBars: boolean): [number, number] {
  const beside = isTime ? 1800 : 1
  if (x.length < 2) return [first - beside, first + beside]
  const half = asBars ? (last - first) / (x.length - 1) / 2 : 0
  return [first - half, last + half]
}

function timeLabels(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let day = ''
  return splits.map((seconds) => {
    const text = new Date(seconds * 1000).toISOString()
    const clock = step < 60 ? text.slice(11, 19) : text.slice(11, 16)
    const isNewDay = text.slice(0, 10) !== day && day !== ''
    day = text.slice(0, 10)
    return step >= 86_400 || (isNewDay && clock === '00:00') ? text.slice(5, 10) : clock
  })
}

// What the pointer is over, in numbers: one line above the picture.
function readout(chart: Chart, lines: Lines, marks: () => Mark[]): uPlot.Plugin {
  const said = document.createElement('div')
  said.className = 'plot-readout'
  return {
    hooks: {
      init: (plot) => plot.root.prepend(said),
      setCursor: (plot) => {
        const { idx } = plot.cursor
        const x = idx === null || idx === undefined ? undefined : plot.data[0][idx]
        if (x === undefined || idx === null || idx === undefined) {
          said.textContent = ''
          return
        }
        const values = lines.series.map(({ name }, index) => {
          const value = plot.data[index + 1]?.[idx]
          return `${name} ${value === null || value === undefined ? 'none' : `${number(value)}${chart.unit === undefined ? '' : ` ${chart.unit}`}`}`
        })
        const at = lines.isTime ? new Date(x * 1000).toISOString().slice(0, 19).replace('T', ' ') : number(x)
        const here = marks().flatMap((mark) => (mark.x === x ? [mark.says] : []))
        said.textContent = [at, ...values, ...here].join('   ')
      },
    },
  }
}

// A diamond on its line, or at the foot of the chart.
function markPoints(marks: () => Mark[], colour: (name: string) => string): uPlot.Plugin {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox, data } = plot
        const size = 4.5 * devicePixelRatio
        ctx.save()
        ctx.lineWidth = 1.5 * devicePixelRatio
        ctx.strokeStyle = colour('surface')
        for (const { x, series } of marks()) {
          const value = series === undefined ? undefined : data[series + 1]?.[data[0].indexOf(x)]
          const across = plot.valToPos(x, 'x', true)
          const known = value !== undefined && value !== null
          const down = known ? plot.valToPos(value, 'y', true) : bbox.top + bbox.height - size
          ctx.fillStyle = colour(known ? `series-${((series ?? 0) % seriesColours) + 1}` : 'quiet')
          ctx.beginPath()
          ctx.moveTo(across, down - size)
          ctx.lineTo(across + size, down)
          ctx.lineTo(across, down + size)
          ctx.lineTo(across - size, down)
          ctx.closePath()
          ctx.fill()
          ctx.stroke()
        }
        ctx.restore()
      },
    },
  }
}

function limitLine(
  limit: { value: number; label: string },
  colour: (name: string) => string,
  font: string,
): uPlot.Plugin {
  return {
    hooks: {
      draw: ({ ctx, bbox, valToPos }) => {
        const y = Math.round(valToPos(limit.value, 'y', true))
        const scale = devicePixelRatio
        ctx.save()
        ctx.strokeStyle = colour('bad-line')
        ctx.lineWidth = scale
        ctx.setLineDash([5 * scale, 4 * scale])
        ctx.beginPath()
        ctx.moveTo(bbox.left, y)
        ctx.lineTo(bbox.left + bbox.width, y)
        ctx.stroke()
        ctx.fillStyle = colour('bad')
        ctx.font = font.replace('12px', `${12 * scale}px`)
        ctx.textAlign = 'right'
        ctx.textBaseline = 'bottom'
        ctx.setLineDash([])
        ctx.strokeStyle = colour('surface')
        ctx.lineWidth = 4 * scale
        const words: [string, number, number] = [limit.label, bbox.left + bbox.width - 4 * scale, y - 3 * scale]
        ctx.strokeText(...words)
        ctx.fillText(...words)
        ctx.restore()
      },
    },
  }
}

function inWords({ title, unit, limit, marks: asked }: Chart, { series }: Lines, marks: Mark[]): string {
  const last = series.map(({ name, values }) => {
    const value = values.findLast((each) => each !== null)
    return `${name} ${value === undefined || value === null ? 'none' : number(value)}`
  })
  const bound = limit === undefined ? '' : `; ${limit.label} is ${number(limit.value)}`
  const happened = asked === undefined ? '' : `; ${asked.says}: ${marks.length}`
  return `${title}${unit === undefined ? '' : ` in ${unit}`}, last: ${last.join(', ')}${bound}${happened}`
}

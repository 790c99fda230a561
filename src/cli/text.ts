/** Text for a terminal: what data may print there, columns, and numbers and times as people read them. */

/**
 * The text with everything written out that would move the cursor, colour the screen, turn the line around or not be seen
 * at all; rows come from strangers.
 */
export function printable(text: string): string {
  // a joiner stays, for it holds emoji together; of marks over one letter a few do, for a thousand reach into other lines
  return text.replace(/(?!\u200d)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|(?<=\p{M}{4})\p{M}/gu, (character) => {
    const short = shortNames[character]
    if (short !== undefined) return short
    const code = character.codePointAt(0) ?? 0
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`
  })
}

const shortNames: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** How many cells of a terminal the text takes. */
export function widthOf(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length
  let width = 0
  for (const character of text) width += /\p{M}|\u200d/u.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}

const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1faff}\u{20000}-\u{3fffd}]/u

/** The text in at most `width` cells, with dots where it was cut. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  const kept: string[] = []
  let used = 0
  for (const character of text) {
    const cells = widthOf(character)
    if (used + cells > width - 3) break
    kept.push(character)
    used += cells
  }
  return `${kept.join('')}...`.slice(0, Math.max(0, width))
}

export function padded(text: string, width: number, to: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(text)))
  return to === 'left' ? text + space : space + text
}

export interface TableColumn {
  title: string
  /** Numbers stand to the right. */
  to?: 'left' | 'right'
}

/** Lines of a table: the titles, then the rows, in columns two spaces apart. */
export function tableLines(columns: TableColumn[], rows: string[][], widths = widthsOf(columns, rows)): string[] {
  const line = (cells: string[]): string =>
    cells
      .map((cell, i) => padded(cell, widths[i] ?? 0, columns[i]?.to))
      .join('  ')
      .trimEnd()
  return [line(columns.map(({ title }) => title)), ...rows.map(line)]
}

/** How wide each column must be for its title and these rows. */
export function widthsOf(columns: TableColumn[], rows: string[][]): number[] {
  return columns.map(({ title }, i) =>
    rows.reduce((width, row) => Math.max(width, widthOf(row[i] ?? '')), widthOf(title)),
  )
}

/** Lines of labels and what belongs to them, the latter below one another. */
export function labelledLines(pairs: [label: string, text: string][], indent = '  '): string[] {
  const width = Math.max(0, ...pairs.map(([label]) => widthOf(label)))
  return pairs.flatMap(([label, text]) =>
    text.split('\n').map((line, i) => `${indent}${padded(i === 0 ? label : '', width)}  ${line}`.trimEnd()),
  )
}

/** The text in lines of at most `width` cells, broken between words. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

/** 1234567 as 1,234,567. */
export function number(value: number): string {
  return value.toLocaleString('en')
}

/** A number in at most seven characters: 999,999, then 1.23M. */
export function shortNumber(value: number): string {
  if (value < 999_999.5) return number(value)
  const [unit, size] = value < 999_500_000 ? ['M', 1e6] : ['G', 1e9]
  return `${(value / size).toPrecision(3)}${unit}`
}

/** `1 row`, `2 rows`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${number(value)} ${value === 1 ? one : many}`
}

export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 120) return `${Math.floor(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`
}

/** `1.5 GB`, as disks are counted. */
export function bytes(value: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let size = value
  let unit = 0
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000
    unit++
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`
}

/** Cuts a text into what can be shown as it is and what must be written out: a control character would play with the eye. */
export interface TextPart {
  text: string
  /** The name of a character that cannot be seen, or that would turn its neighbours around. */
  unseen?: string
  marked: boolean
}

const names: Record<string, string> = {
  '\0': 'NUL',
  '\t': 'TAB',
  '\n': 'LF',
  '\r': 'CR',
  '\u00a0': 'NBSP',
  '\u200b': 'ZWSP',
  '\ufeff': 'BOM',
}

// Controls, characters of direction and of no width, separators of lines, and halves of a pair that stand alone.
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u00a0]/gu

export function textParts(text: string, mark?: { start: number; end: number }): TextPart[] {
  if (mark === undefined) return shownParts(text, false)
  const start = Math.max(0, Math.min(mark.start, text.length))
  const end = Math.max(start, Math.min(mark.end, text.length))
  return [
    ...shownParts(text.slice(0, start), false),
    ...(start === end ? [{ text: '', marked: true }] : shownParts(text.slice(start, end), true)),
    ...shownParts(text.slice(end), false),
  ]
}

function shownParts(text: string, marked: boolean): TextPart[] {
  const parts: TextPart[] = []
  let from = 0
  for (const match of text.matchAll(unseen)) {
    if (match.index > from) parts.push({ text: text.slice(from, match.index), marked })
    parts.push({ text: match[0], unseen: nameOf(match[0]), marked })
    from = match.index + match[0].length
  }
  if (from < text.length) parts.push({ text: text.slice(from), marked })
  return parts
}

function nameOf(character: string): string {
  return names[character] ?? `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}

/** On one line, for lists and titles. */
export function onOneLine(text: string): string {
  return text.replace(unseen, (character) => (/\s/.test(character) ? ' ' : `‹${nameOf(character)}›`))
}

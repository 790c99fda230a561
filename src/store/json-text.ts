/**
 * A value as JSON that `jsonb` takes. It refuses U+0000 and halves of UTF-16 pairs, and names that strangers gave may hold
 * them: they become U+FFFD, so that a name never stops a batch.
 */
export function jsonText(value: unknown): string {
  // halves of pairs and controls are always written as escapes here, and whole pairs never are
  return JSON.stringify(value).replace(/(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f]..)/g, '$1\\ufffd')
}

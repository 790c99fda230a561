export function ResultsView(_: { system: string | undefined }) {
  return null
}

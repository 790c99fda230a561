export function LiveView(_: { query: URLSearchParams }) {
  return null
}

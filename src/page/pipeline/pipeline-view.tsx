export function PipelineView(_: { name: string; section: string; query: URLSearchParams }) {
  return null
}

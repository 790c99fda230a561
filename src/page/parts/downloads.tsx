import { download, type Problem, problemFrom, withQuery } from '../api.ts'

const words = { csv: 'CSV', json: 'JSON', parquet: 'Parquet' } as const

interface DownloadsProps {
  path: string
  /** Of the file, without its ending. */
  name: string
  /** For those who hear the links alone. */
  what: string
  failed(problem: Problem | undefined): void
}

/** Links to rows as files, in each format there is. */
export function Downloads({ path, name, what, failed }: DownloadsProps) {
  return (['csv', 'json', 'parquet'] as const).map((format) => {
    const from = withQuery(path, { format })
    const file = `${name}.${format}`
    return (
      <a
        key={format}
        href={from}
        download={file}
        aria-label={`${words[format]} of ${what}`}
        onClick={(event) => {
          event.preventDefault()
          download(from, file).then(
            () => failed(undefined),
            (error: unknown) => failed(problemFrom(error)),
          )
        }}
      >
        {words[format]}
      </a>
    )
  })
}

/** Files in place of a topic, for a bounded run: the same messages, as somebody has kept them. */
import { MillraceError } from '../errors.ts'
import type { FileFormat, FilesSource, TopicSource } from '../plan/plan.ts'
import { claimInputs } from './files/claims.ts'
import { type FilesReaderOptions, openFilesReader } from './files/reader.ts'
import { severalReaders } from './several.ts'
import type { SourceReader } from './source.ts'

/** What a name says of what is in a file; packed ones end with .gz or .zst besides. */
const formats: { names: RegExp; format: FileFormat }[] = [
  { names: /\.csv(\.gz|\.zst)?$/i, format: { is: 'csv', delimiter: ',', quote: '"' } },
  { names: /\.(jsonl|ndjson|json)(\.gz|\.zst)?$/i, format: { is: 'json lines' } },
  { names: /\.parquet$/i, format: { is: 'parquet' } },
]

/** Errors: WRONG_USAGE. */
export function formatOfName(path: string): FileFormat {
  const format = formats.find(({ names }) => names.test(path))?.format
  if (format !== undefined) return format
  throw new MillraceError('WRONG_USAGE', {
    at: path,
    message: 'the name does not say what is in the file',
    hint: 'let it end with .csv, .jsonl, .ndjson or .parquet; .gz or .zst may follow',
  })
}

export interface FilesForTopicOptions extends Omit<FilesReaderOptions, 'source' | 'inputs'> {
  source: TopicSource
  inputs: { paths: string[]; again: boolean }
}

/** A reader for each format among the files. Errors: NO_INPUT, WRONG_USAGE. */
export async function openFilesForTopic(options: FilesForTopicOptions): Promise<SourceReader> {
  const { source, inputs } = options
  const own = source.columns.find(({ origin }) => origin !== undefined && origin !== 'batch')
  if (own !== undefined) {
    throw new MillraceError('WRONG_USAGE', {
      at: source.topic,
      message: `"${own.name}" is the ${own.origin} of a message, and rows of files have none`,
      hint: 'put the messages into the topic, and run without --input',
    })
  }
  const claims = await claimInputs(inputs.paths, (path, why) => options.onLeftAlone?.(path, why))
  const byFormat = new Map<FileFormat, string[]>()
  for (const { path } of claims) {
    const format = formatOfName(path)
    byFormat.set(format, [...(byFormat.get(format) ?? []), path])
  }
  const readers: SourceReader[] = []
  for (const [format, paths] of byFormat) {
    const { columns, unknown } = source
    const files: FilesSource = { is: 'files', folder: '', format, ...(unknown ? { unknown } : {}), columns }
    readers.push(await openFilesReader({ ...options, source: files, inputs: { paths, again: inputs.again } }))
  }
  return severalReaders(readers)
}

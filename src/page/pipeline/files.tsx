import { useNow } from '../cell.ts'
import { ago, bytes, number } from '../format.ts'
import { Empty, Loading, ProblemNotice } from '../parts/notice.tsx'
import { Scroller } from '../parts/scroller.tsx'
import { onOneLine } from '../parts/text-parts.ts'
import type { SourceFile } from '../types.ts'
import { usePages } from './pages.ts'

export function Files({ pipeline, quarantine }: { pipeline: string; quarantine: string | null }) {
  const { all, next, problem, readMore, reload } = usePages<SourceFile>(
    `/api/pipelines/${encodeURIComponent(pipeline)}/files`,
    'files',
  )
  if (problem !== undefined && all.length === 0) return <ProblemNotice problem={problem} again={reload} />
  if (next === undefined) return <Loading what="the files" />
  if (all.length === 0) {
    return (
      <Empty title="No file yet">
        <p>A file that is dropped into the pipeline's folder shows up here.</p>
      </Empty>
    )
  }
  return (
    <section aria-label="Files">
      <div class="batches-bar">
        <p class="quiet">
          Newest first.
          {quarantine !== null && (
            <>
              {' '}
              Files that cannot be read are moved to <code class="wrap">{onOneLine(quarantine)}</code>.
            </>
          )}
        </p>
        <button type="button" class="button button-small" onClick={reload}>
          Read again
        </button>
      </div>
      <Scroller class="card table-box" label="Table of files">
        <table class="files">
          <thead>
            <tr>
              <th>File</th>
              <th>State</th>
              <th class="number">Size</th>
              <th class="number">Rows</th>
              <th class="number">Batch</th>
              <th class="number">Arrived</th>
            </tr>
          </thead>
          <tbody>
            {all.map((file) => (
              <FileRow key={file.id} file={file} />
            ))}
          </tbody>
        </table>
      </Scroller>
      {problem !== undefined && <ProblemNotice problem={problem} again={reload} />}
      {next !== null && (
        <button type="button" class="button more" onClick={readMore}>
          Older files
        </button>
      )}
    </section>
  )
}

function FileRow({ file }: { file: SourceFile }) {
  const now = useNow()
  const { path, state, size, rows_done: rows, bytes_done: done, batch, code, message, arrived_at: at } = file
  return (
    <tr>
      <td class="mono wrap file-path">{onOneLine(path)}</td>
      <td class={state === 'quarantined' ? 'file-bad' : undefined}>
        {state}
        {state !== 'done' && done > 0 && done < size && ` · ${Math.floor((done / size) * 100)} % read`}
        {(message ?? code) !== null && (
          <p class="file-why">
            {code !== null && <code>{code}</code>} {message !== null && onOneLine(message)}
          </p>
        )}
      </td>
      <td class="number">{bytes(size)}</td>
      <td class="number">{number(rows)}</td>
      <td class="number">{batch === null ? '' : number(batch)}</td>
      <td class="number">{at === null ? '' : ago(at, now)}</td>
    </tr>
  )
}

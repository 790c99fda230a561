/** How the metrics of tasks are distributed, as Spark tells it: values that tasks have, none between them. */
import type { Row } from './api-json.ts'

const gettingResult = 'case when getting_result_ms > 0 then finished_ms - getting_result_ms else 0 end'

/** By the names of Spark, in its order. A dot leads into a part of the answer. */
const distributions: Record<string, string> = {
  duration: 'finished_ms - launched_ms',
  executorDeserializeTime: 'executor_deserialize_ms',
  executorDeserializeCpuTime: 'executor_deserialize_cpu_ns',
  executorRunTime: 'executor_run_ms',
  executorCpuTime: 'executor_cpu_ns',
  resultSize: 'result_size',
  jvmGcTime: 'jvm_gc_ms',
  resultSerializationTime: 'result_serialization_ms',
  gettingResultTime: gettingResult,
  schedulerDelay: `greatest(0, finished_ms - launched_ms - executor_run_ms - executor_deserialize_ms - result_serialization_ms - (${gettingResult}))`,
  peakExecutionMemory: 'peak_memory',
  memoryBytesSpilled: 'memory_spilled',
  diskBytesSpilled: 'disk_spilled',
  'inputMetrics.bytesRead': 'input_bytes',
  'inputMetrics.recordsRead': 'input_records',
  'outputMetrics.bytesWritten': 'output_bytes',
  'outputMetrics.recordsWritten': 'output_records',
  'shuffleReadMetrics.readBytes': 'shuffle_local_bytes + shuffle_remote_bytes',
  'shuffleReadMetrics.readRecords': 'shuffle_read_records',
  'shuffleReadMetrics.remoteBlocksFetched': 'shuffle_remote_blocks',
  'shuffleReadMetrics.localBlocksFetched': 'shuffle_local_blocks',
  'shuffleReadMetrics.fetchWaitTime': 'shuffle_fetch_wait_ms',
  'shuffleReadMetrics.remoteBytesRead': 'shuffle_remote_bytes',
  'shuffleReadMetrics.remoteBytesReadToDisk': 'shuffle_remote_bytes_to_disk',
  'shuffleReadMetrics.totalBlocksFetched': 'shuffle_local_blocks + shuffle_remote_blocks',
  'shuffleReadMetrics.remoteReqsDuration': 'shuffle_remote_requests_ms',
  'shuffleReadMetrics.shufflePushReadMetricsDist.corruptMergedBlockChunks': 'merged_corrupt_chunks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.mergedFetchFallbackCount': 'merged_fallbacks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.remoteMergedBlocksFetched': 'merged_remote_blocks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.localMergedBlocksFetched': 'merged_local_blocks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.remoteMergedChunksFetched': 'merged_remote_chunks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.localMergedChunksFetched': 'merged_local_chunks',
  'shuffleReadMetrics.shufflePushReadMetricsDist.remoteMergedBytesRead': 'merged_remote_bytes',
  'shuffleReadMetrics.shufflePushReadMetricsDist.localMergedBytesRead': 'merged_local_bytes',
  'shuffleReadMetrics.shufflePushReadMetricsDist.remoteMergedReqsDuration': 'merged_remote_requests_ms',
  'shuffleWriteMetrics.writeBytes': 'shuffle_write_bytes',
  'shuffleWriteMetrics.writeRecords': 'shuffle_write_records',
  'shuffleWriteMetrics.writeTime': 'shuffle_write_ns',
}

/** Of the tasks that did well; nothing when there are none. */
export async function quantilesOf(
  rows: (select: (folder: string) => string) => Promise<Row[]>,
  from: (folder: string) => string,
  quantiles: number[],
): Promise<Row | undefined> {
  const values = Object.values(distributions).map((_, i) => {
    // the value at the share of the number of tasks, as Spark counts it
    const picks = quantiles.map((share) => {
      const place = `least(greatest(floor(${Math.min(1, Math.max(0, share))} * n), 0)::bigint, n - 1) + 1`
      return `v${i}[${place}]::double`
    })
    return `[${picks.join(', ')}] as q${i}`
  })
  const lists = Object.values(distributions).map((value, i) => `list_sort(list(${value})) as v${i}`)
  const [row] = await rows(
    (folder) => `
      with lists as (
        select count(*) as n, ${lists.join(', ')} from ${from(folder)} where reason = 'Success' and has_metrics
      )
      select ${values.join(', ')} from lists where n > 0`,
  )
  if (row === undefined) return undefined
  const summary: Row = { quantiles }
  for (const [i, name] of Object.keys(distributions).entries()) put(summary, name.split('.'), row[`q${i}`])
  return summary
}

function put(into: Row, [first = '', ...rest]: string[], value: unknown): void {
  if (rest.length === 0) {
    into[first] = value
    return
  }
  into[first] ??= {}
  // as: made here
  put(into[first] as Row, rest, value)
}

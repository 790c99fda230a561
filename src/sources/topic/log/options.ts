export interface LogOptions {
  /** Of topics that are made when they are first written; a topic keeps its number. Default: 1. */
  partitions?: number
  /**
   * How long records are kept after they were written. They go by whole segments, and not before every pipeline that reads
   * the topic has passed them: one that has been away for long keeps its segments. Default: 7 days.
   */
  keepForMs?: number
  /** Bytes of a partition above which its oldest segments go, by the same rules. Default: no limit. */
  keepBytes?: number
  /** A segment that has so many bytes is followed by the next. Default: 64 MB. */
  segmentBytes?: number
  now?: () => number
}

export type ResolvedLogOptions = Required<LogOptions>

export function resolveOptions(options: LogOptions): ResolvedLogOptions {
  return {
    partitions: 1,
    keepForMs: 7 * 24 * 60 * 60 * 1000,
    keepBytes: Number.POSITIVE_INFINITY,
    segmentBytes: 64_000_000,
    now: Date.now,
    ...options,
  }
}

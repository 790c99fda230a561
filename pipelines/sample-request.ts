import type { GenerateRequest } from 'millrace'

/** What a generator is asked for when a test says no more: seed 1, from the beginning of 2026 on. */
export function sampleRequest(asked: Partial<GenerateRequest>): GenerateRequest {
  return {
    settings: {},
    eventsPerSecond: undefined,
    durationSeconds: undefined,
    count: undefined,
    seed: 1,
    startTime: new Date('2026-01-01T00:00:00Z'),
    live: false,
    badPercent: 0,
    duplicatePercent: 0,
    to: undefined,
    options: {},
    topic: (name) => {
      throw new Error(`nobody expects messages for ${name}`)
    },
    signal: new AbortController().signal,
    onFile: () => {},
    ...asked,
  }
}

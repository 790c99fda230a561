/** The one contract suite that every driver of topics passes unchanged. */
import { describe, test } from 'node:test'
import { appending } from './topic-contract/appending.ts'
import { positions } from './topic-contract/positions.ts'
import { reading } from './topic-contract/reading.ts'
import { waiting } from './topic-contract/waiting.ts'
import type { OpenedTopics, Scenario } from './topic-contract/world.ts'

export type { OpenedTopics }

/** `open` gives a way to topics, and to make some; each scenario takes topics of its own. */
export function topicContract(driver: string, open: () => Promise<OpenedTopics>): void {
  const scenario: Scenario = (sentence, run) => {
    test(sentence, { timeout: 60_000 }, async () => {
      const opened = await open()
      try {
        await run(opened)
      } finally {
        await opened.close()
      }
    })
  }
  describe(`topics of ${driver}`, () => {
    appending(scenario)
    reading(scenario)
    positions(scenario)
    waiting(scenario)
  })
}

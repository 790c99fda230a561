import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTopic } from '../src/sources/topic/log/layout.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { topicContract } from './topic-contract.ts'

// small segments, so that each scenario has some
const segmentBytes = 20_000

topicContract('the local log', async () => {
  const root = await mkdtemp(join(tmpdir(), 'millrace-topics-'))
  const folder = join(root, 'topics')
  return {
    topics: openLocalTopics(folder, { segmentBytes }),
    make: (topic, partitions) => createTopic(folder, topic, partitions),
    async forget(topic) {
      // what is too much goes when a writer opens it
      await using topics = openLocalTopics(folder, { segmentBytes, keepBytes: 200_000 })
      await using _ = await topics.openWriter(topic)
    },
    close: () => rm(root, { recursive: true, force: true }),
  }
})

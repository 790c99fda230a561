import { memoryTopics } from '../src/sources/topic/memory.ts'
import { topicContract } from './topic-contract.ts'

topicContract('memory', async () => {
  const topics = memoryTopics(Date.now)
  return {
    topics,
    make: async (topic, partitions) => topics.make(topic, partitions),
    forget: async (topic) => topics.forget(topic, 0, 200),
    close: async () => {},
  }
})

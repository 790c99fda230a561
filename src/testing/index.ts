/** The test kit, as `millrace/testing`: a catalogue. */
export type { FeedOptions, GivenRow } from './given-rows.ts'
export {
  type Books,
  type DeadLetter,
  type LateRow,
  type Quarantined,
  type TestedPipeline,
  type TestOptions,
  type TestPipeline,
  testPipeline,
  type WrittenFile,
} from './test-pipeline.ts'
export type { TestRow, TestValue } from './typed-rows.ts'

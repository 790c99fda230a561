/** The test kit, as `millrace/testing`: a catalogue. */
export type { FeedOptions, GivenRow } from './given-rows.ts'
export type { Books, DeadLetter, LateRow, Published, Quarantined, WrittenFile } from './results.ts'
export { type TestPipeline, testPipeline } from './test-pipeline.ts'
export type { TestedPipeline, TestOptions } from './tested-plan.ts'
export type { TestRow, TestValue } from './typed-rows.ts'

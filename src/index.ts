/** The public names of Millrace: a catalogue. */
export { MillraceError } from './errors.ts'
export {
  type Aggregated,
  count,
  countDistinct,
  counts,
  deviation,
  max,
  mean,
  min,
  sum,
  top,
} from './functions/aggregate.ts'
export { functions } from './functions/index.ts'
export type { Operand, Row, Value } from './functions/value.ts'
export {
  batchNumber,
  boolean,
  type ColumnSpec,
  type Columns,
  decimal,
  double,
  type Flow,
  files,
  folder,
  integer,
  json,
  lineNumber,
  list,
  oneOf,
  partitionNumber,
  pipeline,
  recordHeaders,
  recordKey,
  recordOffset,
  recordTime,
  sourceFile,
  table,
  text,
  timestamp,
  topic,
} from './pipeline.ts'
export type { Plan } from './plan/plan.ts'
export type {
  Archive,
  Chart,
  Compression,
  GeneratedFile,
  GenerateRequest,
  GenerateSummary,
  Generator,
  Route,
  SampleMessage,
  SampleTopic,
  SettingSpec,
  SettingValues,
  System,
} from './system.ts'

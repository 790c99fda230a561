/** The public names of Millrace: a catalogue. */
export { MillraceError } from './errors.ts'
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
  oneOf,
  pipeline,
  sourceFile,
  table,
  text,
  timestamp,
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
  SettingSpec,
  SettingValues,
  System,
} from './system.ts'

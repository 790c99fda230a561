/** Why a file is put aside whole, by the code that stands in `millrace.files` and in the `.reason.txt` beside it. */
import { badHeaders } from './header-csv.ts'

export const fileReasons = {
  ...badHeaders,
  NO_HEADER: 'the first line is longer than a header may be',
  HEADER_MISMATCH: 'the columns of the file are not those that the source expects',
  NOT_JSON_LINES: 'none of the first lines is a JSON object, or the file is one JSON document',
  NOT_PARQUET: 'the file does not begin and end as Parquet does: it is something else, or was cut short',
  WRONG_TYPE: 'a column of a Parquet file has a type that can never be the expected one',
  CUT_SHORT: 'packed data end before their end',
  NOT_PACKED_RIGHT: 'packed data are broken, or something follows them',
  UNPACKS_TOO_LARGE: 'packed data unpack to more than a file may hold',
  FILE_UNREADABLE: 'the file cannot be opened, is damaged, or is no regular file',
  FILE_CHANGED: 'the file changed while it was read, or after a part of it had been read',
  NEEDS_MORE_MEMORY: 'a row that is not long takes more memory than MEMORY_LIMIT allows',
} as const

export type FileReason = keyof typeof fileReasons

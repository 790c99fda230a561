import { batchNumber, decimal, integer, oneOf, sourceFile, text, timestamp } from 'millrace'

/** What a row of a file has, and where it came from. */
export const columns = {
  event_id: text().notEmpty(),
  user_id: text().notEmpty(),
  event_type: oneOf('view', 'purchase'),
  product_id: text().notEmpty(),
  product_name: text().notEmpty(),
  category: text().notEmpty(),
  price: decimal(12, 2).atLeast(0),
  quantity: integer().optional(),
  event_time: timestamp(),
  source_file: sourceFile(),
  batch: batchNumber(),
}

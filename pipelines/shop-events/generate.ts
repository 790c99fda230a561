import type { Generator } from 'millrace'
export const generator: Generator = { says: '', run: async () => ({ events: 0, bad: 0, duplicates: 0, files: 0 }) }

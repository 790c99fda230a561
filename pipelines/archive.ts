import { type Archive, MillraceError, type SettingSpec, type SettingValues } from 'millrace'

/** The archiver's variables, the same for every system whose files it takes. */
export const archiveSettings: Record<string, SettingSpec> = {
  ARCHIVE_AFTER: {
    type: 'duration',
    default: '60 s',
    says: 'how old a file must be, since it arrived, before it moves from done/ to the archive',
  },
  ARCHIVE_KEEP: {
    type: 'duration',
    default: '',
    says: 'how long it stays in the archive, such as "30 d"; empty: for ever',
  },
  ARCHIVE_COMPRESS: { type: 'text', default: '', says: 'gzip or zstd; empty: archived files are as they came' },
}

/** The archive in this folder, as the variables say. */
export function archiveIn(folder: string, settings: SettingValues): Archive {
  const { ARCHIVE_AFTER: afterMs, ARCHIVE_KEEP: keepMs, ARCHIVE_COMPRESS: compress } = settings
  if (compress !== '' && compress !== 'gzip' && compress !== 'zstd') {
    throw new MillraceError('INVALID_SETTING', {
      at: 'ARCHIVE_COMPRESS',
      message: `"${compress}" is not gzip or zstd`,
      hint: 'leave it empty to keep files as they came',
    })
  }
  return {
    folder,
    afterMs: Number(afterMs),
    keepMs: keepMs === '' ? undefined : Number(keepMs),
    compress: compress === '' ? undefined : compress,
  }
}

/** Certificates of an authority that the test makes, by openssl. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Why there can be no certificates here, or false. */
export const noOpenssl: string | false = await run('openssl', ['version']).then(
  () => false,
  (error: Error) => `there is no openssl here to make certificates with: ${error.message}`,
)

/** `path`.crt and `path`.key, which sign others. */
export async function makeAuthority(path: string): Promise<void> {
  const subject = ['-subj', `/CN=${path.split('/').at(-1)}`, '-addext', 'basicConstraints=critical,CA:TRUE']
  await run('openssl', ['req', '-x509', ...newKey(path), '-days', '2', '-out', `${path}.crt`, ...subject])
}

/** `path`.crt and `path`.key, signed by `ca`. */
export async function certify(ca: string, path: string, who: { name: string; names?: string }): Promise<void> {
  await run('openssl', ['req', '-new', ...newKey(path), '-subj', `/CN=${who.name}`, '-out', `${path}.csr`])
  await writeFile(`${path}.ext`, who.names === undefined ? '' : `subjectAltName=${who.names}`)
  const signer = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-extfile', `${path}.ext`]
  await run('openssl', ['x509', '-req', '-in', `${path}.csr`, ...signer, '-days', '2', '-out', `${path}.crt`])
}

// openssl makes the key's file for this user alone, which Postgres asks for
function newKey(path: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${path}.key`]
}

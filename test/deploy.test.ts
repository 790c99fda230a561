/**
 * What stands in deploy/: names that Millrace knows, verbs that it has, images with a version; the compose file as
 * `docker compose` loads it, and the chart as Helm prints it, held against Kubernetes' schemas. Neither is started here.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cp, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { parse, parseAllDocuments } from 'yaml'
import { systemSettings } from '../src/cli/open.ts'
import { verbs } from '../src/cli/verbs.ts'
import { loadConfig, variables } from '../src/config.ts'
import { chartSchema, chartSchemaPath } from '../tools/chart-schema.ts'

const run = promisify(execFile)
const root = dirname(import.meta.dirname)
const deploy = join(root, 'deploy')
const chart = join(deploy, 'helm/millrace')

const helm = process.env['MILLRACE_HELM']
const compose = process.env['MILLRACE_COMPOSE']
const kubernetesValidate = process.env['MILLRACE_KUBERNETES_VALIDATE']
const hadolint = process.env['MILLRACE_HADOLINT']
const noHadolint =
  hadolint === undefined ? 'hadolint is absent: .ci/setup brings it, and names it in MILLRACE_HADOLINT' : false
const noHelm = helm === undefined ? 'Helm is absent: .ci/setup brings it, and names it in MILLRACE_HELM' : false
const noCompose =
  compose === undefined ? 'Compose is absent: .ci/setup brings it, and names it in MILLRACE_COMPOSE' : false
const noSchemas =
  kubernetesValidate === undefined
    ? "Kubernetes' schemas are absent: .ci/setup brings them, and names them in MILLRACE_KUBERNETES_VALIDATE"
    : false

const known = new Set([...Object.keys(variables), ...Object.keys(systemSettings())])

/** What is told to the Spark server that deploy/ starts; Millrace reads none of it. */
const ofDeploy = ['SPARK_MASTER', 'SPARK_DRIVER_MEMORY', 'SPARK_EXECUTOR_MEMORY', 'SPARK_EXECUTOR_CORES']

const { version, devDependencies }: { version: string; devDependencies: Record<string, string> } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
)

// A folder, file or field of what was parsed, whatever it is.
// biome-ignore lint/suspicious/noExplicitAny: manifests have as many shapes as there are kinds
type Told = any

// ---- names, whatever is installed ------------------------------------------------------------------------------------

test('the compose file asks for no variable that is no setting', async () => {
  const text = await readFile(join(deploy, 'compose.yaml'), 'utf8')
  const asked = [...text.matchAll(/(?<!\$)\$\{([A-Z0-9_]+)/g)].map(([, name = '']) => name)
  assert.ok(asked.length > 10, 'none were found')
  const strange = asked.filter((name) => !known.has(name) && ![...ofDeploy, 'MILLRACE_VERSION'].includes(name))
  assert.deepEqual(strange, [])
  for (const name of ofDeploy) assert.ok(asked.includes(name), `${name} is asked for nowhere`)
})

test('the services that are Millrace have verbs that it has, and are told settings that it accepts', () => {
  const { services } = composeFile()
  const own = Object.entries(services).filter(([, { image }]) => /^millrace:/.test(image))
  assert.deepEqual(
    own.map(([name, { command }]) => [name, command]),
    [
      ['millrace', ['start']],
      ['work', ['work']],
      ['serve', ['serve']],
    ],
  )
  for (const [name, { command, environment }] of own) {
    assert.ok(verbs[command[0]] !== undefined, `${name}: there is no verb ${command[0]}`)
    assert.deepEqual(
      Object.keys(environment).filter((variable) => !known.has(variable)),
      [],
      name,
    )
    const settings = Object.entries<string>(environment).map(([key, value]) => [key, given(value)])
    const config = loadConfig(systemSettings(), Object.fromEntries(settings), tmpdir())
    assert.equal(config.database?.url, 'postgresql://millrace:secret@postgres:5432/millrace')
    assert.deepEqual(config.warnings, [])
  }
})

test('no image is of whatever version is the latest', async () => {
  const images = Object.values(composeFile().services).map(({ image }) => given(image))
  images.push(parse(await readFile(join(chart, 'values.yaml'), 'utf8')).spark.image)
  const dockerfile = await readFile(join(deploy, 'Dockerfile'), 'utf8')
  images.push(...[...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image = '']) => image))
  assert.ok(images.length >= 8, images.join())
  for (const image of images) assert.match(image, /^[a-z/]+:\d+\.\d+/)
})

test('the versions of what is deployed are those of what is tested', async () => {
  const dockerfile = await readFile(join(deploy, 'Dockerfile'), 'utf8')
  const setup = await readFile(join(root, '.ci/setup'), 'utf8')
  const wanted = (name: string): string => new RegExp(`^${name}=(\\S+)`, 'm').exec(setup)?.[1] ?? `no ${name}`
  const kafka = /<kafka.version>(.*)</.exec(await readFile(join(root, '.ci/kafka/pom.xml'), 'utf8'))?.[1]
  const { services } = composeFile()
  const values = parse(await readFile(join(chart, 'values.yaml'), 'utf8'))
  assert.deepEqual(
    [...dockerfile.matchAll(/^FROM node:([\d.]+)/gm)].map(([, node]) => node),
    [devDependencies['node'], devDependencies['node']],
  )
  assert.equal(services['kafka'].image, `apache/kafka:${kafka}`)
  assert.equal(given(services['millrace'].image), `millrace:${version}`)
  const [application] = documents(await readFile(join(deploy, 'spark-operator.yaml'), 'utf8'))
  const { sparkConf, runtimeVersions } = application.spec
  assert.equal(runtimeVersions.sparkVersion, wanted('spark'))
  for (const { image, jars } of [
    { image: sparkConf['spark.kubernetes.container.image'], jars: sparkConf['spark.jars.packages'] },
    { image: services['spark'].image, jars: services['spark'].command.join(' ') },
    { image: values.spark.image, jars: values.spark.packages },
  ]) {
    assert.ok(image.startsWith(`apache/spark:${wanted('spark')}-`), image)
    assert.ok(jars.includes(`org.postgresql:postgresql:${wanted('jdbc')}`), jars)
  }
  const { version: chartVersion, appVersion } = parse(await readFile(join(chart, 'Chart.yaml'), 'utf8'))
  assert.deepEqual([chartVersion, appVersion], [version, version])
})

test('the Dockerfile copies what is there, and what its list of files lets through', async () => {
  const dockerfile = await readFile(join(deploy, 'Dockerfile'), 'utf8')
  const through = (await readFile(join(deploy, 'Dockerfile.dockerignore'), 'utf8')).split('\n')
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, files = '']) => files.split(' '))
  const clean = copied.map((path) => path.replace(/^\.\//, ''))
  assert.deepEqual(
    clean.filter((path) => !existsSync(join(root, path)) || !through.includes(`!${path}`)),
    [],
  )
  assert.deepEqual(clean.toSorted(), [
    '.npmrc',
    'package-lock.json',
    'package.json',
    'pipelines',
    'src',
    'tsconfig.json',
  ])
})

test('hadolint finds nothing in the Dockerfile, and something in a worse one', { skip: noHadolint }, async () => {
  const file = join(deploy, 'Dockerfile')
  await run(hadolint ?? '', [file])
  await using place = await mkdtempDisposable(join(tmpdir(), 'millrace-dockerfile-'))
  const worse = join(place.path, 'Dockerfile')
  await writeFile(worse, (await readFile(file, 'utf8')).replace('USER 1000:1000', 'USER root').replace('26.10.0-', ''))
  await assert.rejects(run(hadolint ?? '', [worse]), ({ stdout }: { stdout: string }) => /DL3002/.test(stdout))
})

test('the chart takes the variables that Millrace has: npm run reference', async () => {
  assert.deepEqual(JSON.parse(await readFile(chartSchemaPath, 'utf8')), chartSchema())
})

// ---- the compose file ------------------------------------------------------------------------------------------------

const profiles: [string[], string[]][] = [
  [[], ['millrace', 'postgres']],
  [['kafka'], ['kafka', 'millrace', 'postgres']],
  [['apart'], ['kafka', 'millrace', 'postgres', 'serve', 'work']],
  [['spark'], ['millrace', 'postgres', 'spark']],
  [
    ['apart', 'spark'],
    ['kafka', 'millrace', 'postgres', 'serve', 'spark', 'work'],
  ],
]

for (const [named, services] of profiles) {
  test(`compose loads the file with ${named.length === 0 ? 'no profile' : named.join(' and ')}`, {
    skip: noCompose,
  }, async () => {
    const project = await composed(join(deploy, 'compose.yaml'), named)
    assert.deepEqual(Object.keys(project.services).toSorted(), services)
    assert.equal(project.services.millrace.environment.DB_PASSWORD, 'secret')
  })
}

const composeFaults: [string, RegExp, string, RegExp][] = [
  ['a key that there is not', /depends_on:/, 'depend_on:', /depend_on.* not allowed/],
  ['a service that there is not', /^ {2}postgres:$/m, '  postgresql:', /undefined service "?postgres/],
  ['a volume that there is not', /^ {2}data:$/m, '  dada:', /undefined volume data/],
  ['a map where a text belongs', /"(fetch\(.*)"/, '$1', /healthcheck.test.3 must be a string/],
]

for (const [what, part, wrong, why] of composeFaults) {
  test(`${what} in the compose file would be found`, { skip: noCompose }, async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-compose-'))
    const text = await readFile(join(deploy, 'compose.yaml'), 'utf8')
    assert.match(text, part)
    const file = join(folder.path, 'compose.yaml')
    await writeFile(file, text.replace(part, wrong))
    await assert.rejects(composed(file, ['apart']), why)
  })
}

test('without a password compose says where it belongs', { skip: noCompose }, async () => {
  await assert.rejects(composed(join(deploy, 'compose.yaml'), [], {}), /DB_PASSWORD.*set it in deploy\/\.env/)
})

// ---- the chart -------------------------------------------------------------------------------------------------------

const values: Record<string, Told> = {
  'as little as it can be told': { tokensSecret: 'tokens' },
  'workers and server apart': {
    tokensSecret: 'tokens',
    config: { KAFKA_BOOTSTRAP_SERVERS: 'kafka:9092', BATCH_MAX_ROWS: 100_000, FLYERS_COMPAT: true },
    secrets: { DATABASE_URL: 'postgresql://m:p%22@db/millrace' },
    pipelines: ['flyers', '/app/own/orders.ts'],
    persistence: { accessMode: 'ReadWriteMany', storageClass: 'shared' },
    work: { replicas: 2 },
    serve: { replicas: 3 },
  },
  'nothing kept': {
    tokensSecret: 'tokens',
    existingSecret: 'ours',
    persistence: { enabled: false },
    config: { KAFKA_BOOTSTRAP_SERVERS: 'kafka:9092' },
    work: { replicas: 2 },
    extraEnv: [{ name: 'OWN', value: 'yes' }],
    imagePullSecrets: [{ name: 'registry' }],
    nodeSelector: { disk: 'fast' },
    tolerations: [{ key: 'spot', operator: 'Exists' }],
  },
  'Spark in one pod': { tokensSecret: 'tokens', spark: { enabled: true, packages: '' } },
  'Spark with pods for executors': {
    tokensSecret: 'tokens',
    persistence: { existingClaim: 'disk' },
    spark: {
      enabled: true,
      master: 'k8s://https://kubernetes.default.svc',
      executors: 40,
      conf: { 'spark.sql.shuffle.partitions': 4000 },
    },
  },
}

for (const [what, told] of Object.entries(values)) {
  test(`the chart is sound: ${what}`, { skip: noHelm }, async () => {
    const lint = await helmRun(['lint', '--strict'], told)
    assert.match(lint, /1 chart\(s\) linted, 0 chart\(s\) failed/)
    const manifests = await printed(told)
    assert.deepEqual(unsound(manifests), [])
  })

  test(`Kubernetes would take the chart: ${what}`, { skip: noHelm || noSchemas }, async () => {
    await assertTaken(await helmRun(['template'], told))
  })
}

test('a manifest that Kubernetes would not take is found', { skip: noHelm || noSchemas }, async () => {
  const text = await helmRun(['template'], { tokensSecret: 'tokens' })
  await assert.rejects(assertTaken(text.replace('replicas: 1', 'replica: 1')), /replica/)
  await assert.rejects(assertTaken(text.replace('replicas: 1', 'replicas: one')), /integer/)
})

const refused: [string, Told, RegExp][] = [
  ['no Secret with tokens', {}, /tokensSecret must name a Secret/],
  ['a variable that Millrace has not', { config: { BATCH_MAX_ROW: 1 } }, /BATCH_MAX_ROW/],
  ['a secret among what is open', { config: { DATABASE_URL: 'postgresql://a:b@c/d' } }, /DATABASE_URL/],
  ['a value that the chart has not', { replicas: 2 }, /replicas/],
  [
    'two workers with a disk that is in one place',
    { config: { KAFKA_BOOTSTRAP_SERVERS: 'k:9092' }, work: { replicas: 2 } },
    /must be ReadWriteMany/,
  ],
]

for (const [what, told, why] of refused) {
  test(`the chart refuses ${what}`, { skip: noHelm }, async () => {
    const tokens = why.source.startsWith('tokensSecret') ? {} : { tokensSecret: 'tokens' }
    await assert.rejects(printed({ ...tokens, ...told }), why)
  })
}

test('workers and server are apart with a broker, and one pod that is never two without', {
  skip: noHelm,
}, async () => {
  const partsOf = (manifests: Told[]): Told[] =>
    manifests
      .filter(({ kind }) => kind === 'Deployment')
      .map(({ metadata, spec }) => [metadata.name, spec.replicas, containerOf(spec).args, spec.strategy?.type])
      .toSorted()
  assert.deepEqual(partsOf(await printed(values['workers and server apart'])), [
    ['m-millrace-serve', 3, ['serve', 'flyers', '/app/own/orders.ts'], undefined],
    ['m-millrace-work', 2, ['work', 'flyers', '/app/own/orders.ts'], undefined],
  ])
  assert.deepEqual(partsOf(await printed(values['as little as it can be told'])), [
    ['m-millrace-start', 1, ['start'], 'Recreate'],
  ])
})

test('a broken template is found: a probe of a route that there is not', { skip: noHelm }, async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-chart-'))
  await cp(chart, folder.path, { recursive: true })
  const path = join(folder.path, 'templates/_helpers.tpl')
  await writeFile(path, (await readFile(path, 'utf8')).replaceAll('/health/ready', '/healthz'))
  const text = await helmRun(['template'], { tokensSecret: 'tokens' }, folder.path)
  assert.match(unsound(documents(text)).join('\n'), /the server has no route \/healthz/)
  await writeFile(path, (await readFile(path, 'utf8')).replace('{{- end -}}', ''))
  await assert.rejects(helmRun(['lint', '--strict'], { tokensSecret: 'tokens' }, folder.path))
})

// ---- what is asked of every manifest ---------------------------------------------------------------------------------

/** What is wrong with these manifests, as sentences. */
function unsound(manifests: Told[]): string[] {
  const wrong: string[] = []
  const names = new Map<string, Set<string>>()
  for (const { kind, metadata } of manifests) names.set(kind, (names.get(kind) ?? new Set()).add(metadata.name))
  const has = (kind: string, name: string): boolean => names.get(kind)?.has(name) === true
  const deployments = manifests.filter(({ kind }) => kind === 'Deployment')
  for (const { metadata, spec } of deployments) {
    const say = (sentence: string): unknown => wrong.push(`${metadata.name}: ${sentence}`)
    const { labels } = spec.template.metadata
    if (!within(spec.selector.matchLabels, labels)) say('it does not find its own pods')
    const pod = spec.template.spec
    if (pod.securityContext?.runAsNonRoot !== true || !(pod.securityContext.runAsUser > 0)) say('it may be root')
    const container = containerOf(spec)
    const { allowPrivilegeEscalation, capabilities } = container.securityContext ?? {}
    if (allowPrivilegeEscalation !== false || capabilities?.drop?.[0] !== 'ALL') say('it may become more than it is')
    if (container.resources?.requests?.memory === undefined || container.resources?.limits?.memory === undefined)
      say('its memory has no bounds')
    for (const { name } of container.volumeMounts ?? [])
      if (!pod.volumes.some((volume: Told) => volume.name === name)) say(`there is no volume ${name}`)
    for (const { persistentVolumeClaim: claim } of pod.volumes)
      if (claim !== undefined && claim.claimName !== 'disk' && !has('PersistentVolumeClaim', claim.claimName))
        say(`there is no claim ${claim.claimName}`)
    if (container.name === 'spark') continue
    if (pod.automountServiceAccountToken !== false) say('it is given a token for the cluster')
    if (container.securityContext.readOnlyRootFilesystem !== true) say('it may write into its image')
    const [verb] = container.args
    if (verbs[verb] === undefined) say(`there is no verb ${verb}`)
    for (const { name } of container.env) if (!known.has(name) && name !== 'OWN') say(`there is no variable ${name}`)
    for (const { configMapRef, secretRef } of container.envFrom) {
      if (configMapRef !== undefined && !has('ConfigMap', configMapRef.name)) say(`no ConfigMap ${configMapRef.name}`)
      if (secretRef !== undefined && secretRef.name !== 'ours' && !has('Secret', secretRef.name))
        say(`no Secret ${secretRef.name}`)
    }
    const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe]
    const paths = probes.flatMap((probe) => (probe === undefined ? [] : [probe.httpGet.path]))
    if (paths.length !== (verb === 'work' ? 0 : 3)) say(`it has ${paths.length} probes`)
    for (const path of paths) if (!healthRoutes.has(path)) say(`the server has no route ${path}`)
  }
  for (const { metadata, spec } of manifests.filter(({ kind }) => kind === 'Service')) {
    const found = deployments.filter((each) => within(spec.selector, each.spec.template.metadata.labels))
    if (found.length !== 1) wrong.push(`${metadata.name}: it finds ${found.length} deployments`)
    for (const { targetPort } of spec.ports)
      if (!containerOf(found[0]?.spec)?.ports?.some(({ name }: Told) => name === targetPort))
        wrong.push(`${metadata.name}: there is no port ${targetPort}`)
  }
  for (const { data } of manifests.filter(({ kind }) => kind === 'ConfigMap'))
    for (const [name, value] of Object.entries(data ?? {}))
      if (!known.has(name) || typeof value !== 'string') wrong.push(`ConfigMap: what is ${name}?`)
  return wrong
}

const healthRoutes = new Set(
  [...readFileSync(join(root, 'src/server/server.ts'), 'utf8').matchAll(/'(\/health\/\w+)'/g)].map(([, path]) => path),
)

function containerOf(spec: Told): Told {
  return spec?.template.spec.containers[0]
}

function within(part: Record<string, string>, whole: Record<string, string>): boolean {
  return Object.entries(part).every(([name, value]) => whole[name] === value)
}

// ---- how they are read -----------------------------------------------------------------------------------------------

function composeFile(): { services: Record<string, Told> } {
  return parse(readFileSync(join(deploy, 'compose.yaml'), 'utf8'), { merge: true })
}

// As with DB_PASSWORD=secret and nothing else.
function given(text: string): string {
  return text.replace(/\$\{DB_PASSWORD:\?[^}]*\}/, 'secret').replace(/\$\{\w+:-([^}]*)\}/g, '$1')
}

async function composed(
  file: string,
  named: string[],
  told: Record<string, string> = { DB_PASSWORD: 'secret' },
): Promise<Told> {
  const environment = { PATH: process.env['PATH'], ...told }
  const { stdout } = await run(compose ?? '', [file, ...named], { env: environment, maxBuffer: 1e7 })
  return JSON.parse(stdout)
}

async function helmRun([verb = '', ...options]: string[], told: Told, folder = chart): Promise<string> {
  await using place = await mkdtempDisposable(join(tmpdir(), 'millrace-values-'))
  const file = join(place.path, 'values.yaml')
  await writeFile(file, JSON.stringify(told))
  const named = verb === 'template' ? ['m', folder, '--namespace', 'streams'] : [folder]
  const { stdout } = await run(helm ?? '', [verb, ...named, '-f', file, '--kube-version', '1.31.0', ...options], {
    env: { PATH: process.env['PATH'], HOME: place.path },
    maxBuffer: 1e7,
  })
  return stdout
}

async function printed(told: Told): Promise<Told[]> {
  return documents(await helmRun(['template'], told))
}

function documents(text: string): Told[] {
  return parseAllDocuments(text)
    .map((document) => {
      assert.deepEqual(document.errors, [])
      return document.toJS()
    })
    .filter((manifest: Told) => manifest !== null)
}

async function assertTaken(text: string): Promise<void> {
  await using place = await mkdtempDisposable(join(tmpdir(), 'millrace-manifests-'))
  const file = join(place.path, 'all.yaml')
  await writeFile(file, text)
  // not a rejection with the manifests in it
  const said = await run(kubernetesValidate ?? '', ['--strict', '--kubernetes-version', '1.31', file]).then(
    ({ stdout, stderr }) => `${stdout}${stderr}`,
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`${error.stdout}${error.stderr}`)
    },
  )
  assert.match(said, /passed for resource deployment/)
}

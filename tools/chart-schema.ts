#!/usr/bin/env node
/**
 * What values the chart of deploy/helm takes, printed from the settings: `npm run reference` writes it, and a test holds it
 * equal. Helm refuses values that do not fit, and so a variable that Millrace does not know.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systems } from '../pipelines/index.ts'
import { type SettingSpec, variables } from '../src/config.ts'

/** Where the chart's schema lies. */
export const chartSchemaPath = join(import.meta.dirname, '../deploy/helm/millrace/values.schema.json')

/** Variables that the chart sets itself. */
const chartsOwn = ['MILLRACE_DATA', 'HOST', 'PORT', 'API_TOKENS_FILE', 'POSTGRES_PORT']

const text = { type: 'string' }
const yesOrNo = { type: 'boolean' }
const number = { type: 'integer', minimum: 1 }
const anyObject = { type: 'object' }
const anyList = { type: 'array' }
const scalar = { type: ['string', 'number', 'boolean'] }

export function chartSchema(): unknown {
  const specs: Record<string, SettingSpec> = Object.assign({}, variables, ...systems.map(({ settings }) => settings))
  const names = Object.keys(specs).filter((name) => !chartsOwn.includes(name))
  const openNames = names.filter((name) => specs[name]?.type !== 'secret')
  const part = only({ replicas: number, resources: anyObject })
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart of Millrace',
    description: 'Printed by `npm run reference` from the settings: change them, not this file.',
    ...only({
      image: only({ repository: text, tag: text, pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] } }),
      imagePullSecrets: anyList,
      pipelines: { type: 'array', items: text },
      config: { type: 'object', propertyNames: { enum: openNames }, additionalProperties: scalar },
      secrets: { type: 'object', propertyNames: { enum: names }, additionalProperties: scalar },
      existingSecret: text,
      tokensSecret: text,
      extraEnv: anyList,
      persistence: only({
        enabled: yesOrNo,
        existingClaim: text,
        size: text,
        accessMode: { enum: ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany'] },
        storageClass: text,
      }),
      work: part,
      serve: part,
      service: only({ type: { enum: ['ClusterIP', 'NodePort', 'LoadBalancer'] }, port: number }),
      nodeSelector: anyObject,
      tolerations: anyList,
      affinity: anyObject,
      spark: only({
        enabled: yesOrNo,
        image: text,
        master: text,
        driverMemory: text,
        executorMemory: text,
        executorCores: number,
        executors: number,
        packages: text,
        conf: { type: 'object', additionalProperties: scalar },
        scratch: text,
        resources: anyObject,
      }),
      global: anyObject,
    }),
  }
}

function only(properties: Record<string, unknown>): object {
  return { type: 'object', additionalProperties: false, properties }
}

if (import.meta.main) writeFileSync(chartSchemaPath, `${JSON.stringify(chartSchema(), null, 2)}\n`)

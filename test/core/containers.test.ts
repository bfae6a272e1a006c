import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../src/config/config.ts'
import { composeFile, interpolated, ROOT } from '../support/compose.ts'

const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')
const compose = composeFile()
const services = Object.entries(compose.services)
const pinned = /^[a-z0-9./-]+:v?\d[\w.-]*$/

describe('docker-compose.yml', () => {
  test('images are pinned, and what is built here is ours', () => {
    for (const [name, { image, build }] of services) {
      if (build === undefined) expect(image, name).toMatch(pinned)
      else expect(existsSync(path.join(ROOT, build, 'Dockerfile')), name).toBe(true)
    }
  })

  test('files that are mounted exist and cannot be written, and volumes are declared', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes.map((text) => text.split(':')))
    expect(mounts.length).toBeGreaterThan(8)
    for (const [from, to, mode] of mounts) {
      if (from.startsWith('./')) expect([existsSync(path.join(ROOT, from)), mode], from).toEqual([true, 'ro'])
      else expect(Object.keys(compose.volumes)).toContain(from)
      expect(to.startsWith('/')).toBe(true)
    }
    const used = mounts.map(([from]) => from)
    expect(Object.keys(compose.volumes).filter((name) => !used.includes(name))).toEqual([])
  })

  test('every port is for this machine only', () => {
    const ports = services.flatMap(([, service]) => service.ports ?? [])
    expect(ports.length).toBeGreaterThan(3)
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
    expect(new Set(ports.map((port) => port.split(':')[1])).size).toBe(ports.length)
  })

  test('every service has a healthcheck, and who needs another waits until that is healthy', () => {
    for (const [name, service] of services) {
      expect(service.healthcheck?.test[0], name).toMatch(/^CMD(-SHELL)?$/)
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(compose.services[other]?.healthcheck, `${name} -> ${other}`).toBeDefined()
        expect(condition, `${name} -> ${other}`).toBe('service_healthy')
      }
    }
  })

  test('secrets come from the environment', () => {
    const texts = [
      ...services.flatMap(([, { environment = {} }]) => Object.entries(environment)),
      ...Object.entries(compose.configs).map(([name, { content }]) => [name, content]),
    ]
    const secrets = texts.filter(([name, text]) => /password|secret|token|auth/i.test(name) || /:\/\/[^/]*@/.test(text))
    expect(secrets.length).toBeGreaterThan(5)
    for (const [name, text] of secrets) expect(text, name).toMatch(/\$\{[A-Z_]+:-local-only[a-z-]*\}/)
  })

  test('rekey.yaml is understood with the environment that rekey gets, and speaks to services', () => {
    for (const [name, service] of services.filter(([, { build }]) => build !== undefined)) {
      const environment = Object.fromEntries(Object.entries(service.environment ?? {}).map(([key, text]) => [key, interpolated(text)]))
      const config = parseConfig('rekey.yaml', read('compose/rekey.yaml'), environment)
      expect(existsSync(path.join(ROOT, path.relative('/opt/rekey', config.mapping), 'mapping.yaml'))).toBe(true)
      const urls = Object.values(environment).filter((text) => text.includes('://')).map((text) => new URL(text))
      expect(urls.length).toBeGreaterThan(2)
      for (const { hostname } of urls) expect(Object.keys(service.depends_on ?? {}), name).toContain(hostname)
    }
  })

  test('Prometheus scrapes rekey with its token, and Grafana asks Prometheus', () => {
    const { scrape_configs: [job] } = parse(read('grafana/prometheus/prometheus.yml')) as {
      scrape_configs: { authorization: { credentials_file: string }; static_configs: { targets: string[] }[] }[]
    }
    const token = compose.services['prometheus'].configs?.find(({ target }) => target === job.authorization.credentials_file)
    const targets = job.static_configs.flatMap((one) => one.targets).map((target) => target.split(':'))
    const ours = services.filter(([, { build }]) => build !== undefined)
    expect(targets.map(([host]) => host).sort()).toEqual(ours.map(([name]) => name).sort())
    for (const [name, { environment }] of ours) {
      expect(environment?.['METRICS_TOKEN'], name).toBe(compose.configs[token?.source ?? ''].content)
    }
    const { metrics } = parse(read('compose/rekey.yaml')) as { metrics: { listen: string } }
    for (const [, port] of targets) expect(metrics.listen).toBe(`0.0.0.0:${port}`)
    const { datasources: [source] } = parse(read('grafana/provisioning/datasources/prometheus.yml')) as { datasources: { url: string }[] }
    expect(Object.keys(compose.services)).toContain(new URL(source.url).hostname)
  })
})

describe('Dockerfile', () => {
  const lines = read('Dockerfile').replace(/\\\n/g, ' ').split('\n').filter((line) => /^[A-Z]+ /.test(line)).map((line) => line.split(/\s+/))
  const stages = lines.reduce<string[][][]>((all, line) => (line[0] === 'FROM' ? [...all, [line]] : [...all.slice(0, -1), [...all.at(-1)!, line]]), [])

  test('has several stages over pinned images, and the last one does not run as root', () => {
    expect(stages.length).toBeGreaterThan(1)
    for (const [[, image]] of stages) expect(image).toMatch(pinned)
    const users = stages.at(-1)!.filter(([word]) => word === 'USER')
    expect(users.length).toBeGreaterThan(0)
    expect(users.at(-1)![1]).not.toMatch(/^(root|0)(:|$)/)
  })

  test('copies what is there, and .dockerignore lets it through', () => {
    const kept = read('.dockerignore').split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1))
    const copied = lines.filter(([word, first]) => word === 'COPY' && !first.startsWith('--from=')).flatMap((line) => line.slice(1, -1))
    expect(copied.length).toBeGreaterThan(5)
    for (const file of copied) expect([existsSync(path.join(ROOT, file)), kept.includes(file)], file).toEqual([true, true])
    expect(kept.filter((file) => !copied.includes(file))).toEqual([])
    const named = stages.map(([[, , , name]]) => name)
    for (const [, from] of lines.filter(([word, first]) => word === 'COPY' && first.startsWith('--from='))) {
      expect(named).toContain(from.slice('--from='.length))
    }
  })

  test('starts the program that package.json names', () => {
    const { bin } = JSON.parse(read('package.json')) as { bin: { rekey: string } }
    const entry = JSON.parse(stages.at(-1)!.find(([word]) => word === 'ENTRYPOINT')!.slice(1).join(' ')) as string[]
    expect(entry[1]).toBe(`/opt/rekey/${bin.rekey}`)
  })
})

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../src/config/config.ts'
import { composeFile, environmentOf, ROOT, roles } from '../support/compose.ts'

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

  test('every service that stays has a healthcheck, and who needs another waits until that is healthy or done', () => {
    const once = services.filter(([, { restart }]) => restart === 'no').map(([name]) => name)
    expect(once).toEqual(['files'])
    for (const [name, service] of services) {
      if (!once.includes(name)) expect(service.healthcheck?.test[0], name).toMatch(/^CMD(-SHELL)?$/)
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(Object.keys(compose.services)).toContain(other)
        expect(condition, `${name} -> ${other}`).toBe(once.includes(other) ? 'service_completed_successfully' : 'service_healthy')
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
    for (const [name, text] of secrets) expect(text, name).toMatch(/\$\{[A-Z0-9_]+:-local-only[a-z-]*\}/)
  })

  test('rekey.yaml is understood with the environment that rekey gets, and speaks to services', () => {
    for (const [name, service] of roles(compose)) {
      const environment = environmentOf(service)
      const { mapping, kafka } = parseConfig('rekey.yaml', read('compose/rekey.yaml'), environment)
      expect(service.volumes?.map((text) => text.split(':')[1])).toContain(path.join('/etc/rekey', mapping))
      const urls = Object.values(environment).filter((text) => text.includes('://'))
      const hosts = [...urls.map((text) => new URL(text).hostname), ...(kafka?.brokers ?? []).map((text) => text.split(':')[0])]
      expect(hosts.length).toBe(5)
      for (const host of hosts) expect(Object.keys(service.depends_on ?? {}), name).toContain(host)
    }
  })

  test('each role of rekey runs in a service of its own', () => {
    expect(roles(compose).map(([name, { command }]) => [name, command])).toEqual(
      ['capture', 'deliver', 'mirror'].map((role) => [role, ['run', '--role', role]]))
  })

  test('Prometheus scrapes rekey with its token, and Grafana asks Prometheus', () => {
    const { scrape_configs: [job] } = parse(read('grafana/prometheus/prometheus.yml')) as {
      scrape_configs: { authorization: { credentials_file: string }; static_configs: { targets: string[] }[] }[]
    }
    const token = compose.services['prometheus'].configs?.find(({ target }) => target === job.authorization.credentials_file)
    const targets = job.static_configs.flatMap((one) => one.targets).map((target) => target.split(':'))
    const ours = roles(compose)
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
  const written = read('Dockerfile').replace(/\\\n/g, ' ').split('\n')
  const lines = written.filter((line) => /^[A-Z]+ /.test(line)).map((line) => line.split(/\s+/))
  const stages: string[][][] = []
  for (const line of lines) {
    if (line[0] === 'FROM') stages.push([])
    stages.at(-1)!.push(line)
  }

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

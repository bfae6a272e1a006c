import { spawn } from 'node:child_process'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { cannotHave, onPath, run } from './commands.ts'
import { runInContainer } from './container.ts'
import { fetched } from './fetched.ts'
import { serve, type Place, type Served } from './serve.ts'
import { way } from './way.ts'

export interface Prometheus extends Served {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
}

export interface Scraped {
  /** Ports on 127.0.0.1 by the name of the job; their path is /metrics. */
  readonly jobs: Readonly<Record<string, number>>
  /** Files with recording and alerting rules. */
  readonly rules?: readonly string[]
  /** Between two scrapes and between two evaluations of rules; default 1 s. */
  readonly interval?: string
}

export interface Promtool {
  readonly promtool: string
  readonly prometheus: string
}

const IMAGE = 'prom/prometheus:v2.55.1'
const REMEDY = 'apt-get install -y prometheus'

/** Starts a Prometheus that scrapes ports of this machine. */
export async function startPrometheus(scraped: Scraped): Promise<Prometheus> {
  const rules = await Promise.all((scraped.rules ?? []).map((file) => readFile(file, 'utf8')))
  const named = rules.map((text, i) => [`rules-${i + 1}.yml`, text] as const)
  const served = await serve({
    name: 'Prometheus',
    ready: async (port) => (await fetch(`http://127.0.0.1:${port}/-/ready`)).ok,
    async program({ port, folder }: Place) {
      const config = configOf(scraped, { host: '127.0.0.1', rules: named.map(([name]) => name) })
      for (const [name, text] of [['prometheus.yml', config], ...named]) await writeFile(path.join(folder, name), text)
      const { prometheus } = await prometheusPrograms()
      const places = ['--config.file=prometheus.yml', '--storage.tsdb.path=data', `--web.listen-address=127.0.0.1:${port}`]
      return { command: [prometheus, ...places, '--log.level=warn'] }
    },
    container() {
      const config = configOf(scraped, { host: 'host.testcontainers.internal', rules: named.map(([name]) => name) })
      const files = [['prometheus.yml', config], ...named].map(([name, text]) => [`/etc/prometheus/${name}`, text])
      return { image: IMAGE, port: 9090, calls: Object.values(scraped.jobs), files: Object.fromEntries(files) }
    },
  })
  return { ...served, url: `http://${served.host}:${served.port}` }
}

/** The configuration as JSON, which is YAML. */
function configOf({ jobs, interval = '1s' }: Scraped, { host, rules }: { readonly host: string; readonly rules: readonly string[] }): string {
  return JSON.stringify({
    global: { scrape_interval: interval, scrape_timeout: interval, evaluation_interval: interval },
    rule_files: rules,
    scrape_configs: Object.entries(jobs).map(([name, port]) => ({ job_name: name, static_configs: [{ targets: [`${host}:${port}`] }] })),
  })
}

/**
 * Runs promtool over the files of a folder: `promtool(['test', 'rules', 'rules.test.yml'], folder)`. Resolves with its exit code and all it
 * said; what it should read on stdin (`check metrics`) is `input`.
 */
export async function promtool(args: readonly string[], folder: string, input = ''): Promise<{ code: number; output: string }> {
  if ((await way()) === 'containers') {
    const command = ['sh', '-c', 'printf %s "$0" | promtool "$@"', input, ...args]
    return runInContainer(IMAGE, folder, command)
  }
  const child = spawn((await prometheusPrograms()).promtool, args, { cwd: folder })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stdin.on('error', () => {}).end(input)
  const code = await new Promise<number>((resolve, reject) => child.on('error', reject).on('close', (status) => resolve(status ?? -1)))
  return { code, output }
}

/**
 * The programs of this machine, else those of the Debian package, unpacked and not installed: that needs no root, and starts no server of
 * its own. The lists of packages are then fetched into a folder of ours, because those of the machine may be missing or old.
 */
export async function prometheusPrograms(): Promise<Promtool> {
  const [prometheus, tool] = [onPath('prometheus'), onPath('promtool')]
  if (prometheus !== null && tool !== null) return { prometheus, promtool: tool }
  if (onPath('apt-get') === null || onPath('dpkg-deb') === null) {
    throw cannotHave('Prometheus', 'there are no prometheus and promtool on the PATH', `${REMEDY} (or: brew install prometheus)`)
  }
  const folder = await fetched({
    title: 'Prometheus from Debian', folder: `prometheus-debian-${process.arch}`, remedy: REMEDY, fill: unpackPrometheus,
  })
  const bin = path.join(folder, 'usr', 'bin')
  return { prometheus: path.join(bin, 'prometheus'), promtool: path.join(bin, 'promtool') }
}

async function unpackPrometheus(to: string): Promise<void> {
  const work = path.join(to, 'apt')
  await mkdir(path.join(work, 'lists', 'partial'), { recursive: true })
  await mkdir(path.join(work, 'cache', 'archives', 'partial'), { recursive: true })
  const options = [`Dir::State::lists=${path.join(work, 'lists')}`, `Dir::Cache=${path.join(work, 'cache')}`, 'APT::Sandbox::User=']
  const own = options.flatMap((option) => ['-o', option])
  await run(['apt-get', '-q', ...own, 'update'])
  await run(['apt-get', '-q', ...own, 'download', 'prometheus'], { cwd: work })
  const file = (await readdir(work)).find((name) => name.endsWith('.deb')) ?? 'prometheus.deb'
  await run(['dpkg-deb', '-x', path.join(work, file), to])
  await rm(work, { recursive: true })
}

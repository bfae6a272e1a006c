import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type Labels, type MetricName, METRICS, type NamesOf } from './set.ts'

/** The metrics of one pipeline in this process. */
export interface Metrics {
  /** Adds to a counter. */
  add<N extends NamesOf<'counter'>>(name: N, labels: Labels<N>, n: number): void
  /** Moves a counter on to what another system has counted; a smaller number is a new beginning there. */
  raise<N extends NamesOf<'counter'>>(name: N, labels: Labels<N>, total: number): void
  /** Sets a gauge; null: there is no value, and so no sample. */
  set<N extends NamesOf<'gauge'>>(name: N, labels: Labels<N>, value: number | null): void
  observe(name: NamesOf<'histogram'>, value: number): void
  /** Runs before each scrape, for what is worked out only when somebody looks. */
  beforeScrape(run: () => void): void
  /** In Prometheus's text format, with the process's own metrics. */
  scrape(): Promise<{ readonly contentType: string; readonly text: string }>
}

type Rows = [MetricName, { type: string; help: string; labels: readonly string[]; buckets?: readonly number[] }][]

export function openMetrics(pipeline: string): Metrics {
  const registry = new Registry()
  const gauges = new Map<string, Gauge>()
  const counters = new Map<string, Counter>()
  const histograms = new Map<string, Histogram>()
  for (const [name, { type, help, labels, buckets = [] }] of Object.entries(METRICS) as Rows) {
    const config = { name, help, labelNames: ['pipeline', ...labels], registers: [registry] }
    if (type === 'gauge') gauges.set(name, new Gauge(config))
    else if (type === 'histogram') histograms.set(name, new Histogram({ ...config, buckets: [...buckets] }))
    else {
      counters.set(name, new Counter(config))
      // A counter that is first seen above 0 has no increase.
      if (labels.length === 0) counters.get(name)!.inc({ pipeline }, 0)
    }
  }
  collectDefaultMetrics({ register: registry, labels: { pipeline } })
  const before: (() => void)[] = []
  const raised = new Map<string, number>()
  return {
    add: (name, labels, n) => counters.get(name)!.inc({ pipeline, ...labels }, n),
    raise(name, labels, total) {
      const key = JSON.stringify([name, labels])
      const last = raised.get(key) ?? total
      raised.set(key, total)
      counters.get(name)!.inc({ pipeline, ...labels }, total < last ? total : total - last)
    },
    set(name, labels, value) {
      const gauge = gauges.get(name)!
      if (value === null) gauge.remove({ pipeline, ...labels })
      else gauge.set({ pipeline, ...labels }, value)
    },
    observe: (name, value) => histograms.get(name)!.observe({ pipeline }, value),
    beforeScrape: (run) => void before.push(run),
    async scrape() {
      for (const run of before) run()
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}

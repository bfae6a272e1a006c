import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../metrics/registry.ts'
import type { RunMetrics } from '../metrics/run-metrics.ts'

/**
 * - /metrics: for Prometheus.
 * - /healthz: 200 while this process answers at all; a process that does not should be started anew.
 * - /readyz: 200 while the run does its work, else 503; `reasons` says why not.
 */
export function observability(metrics: Pick<Metrics, 'scrape'>, run: Pick<RunMetrics, 'readiness'>): (app: FastifyInstance) => void {
  return (app) => {
    app.get('/metrics', async (_request, reply) => {
      const { contentType, text } = await metrics.scrape()
      return reply.header('content-type', contentType).send(text)
    })
    app.get('/healthz', () => ({ healthy: true }))
    app.get('/readyz', (_request, reply) => {
      const readiness = run.readiness()
      return reply.code(readiness.ready ? 200 : 503).send(readiness)
    })
  }
}

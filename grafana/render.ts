/** A dashboard as rows of panels, and its JSON for Grafana. Where a panel stands follows from its width: panels fill a row from the left. */

export interface Query {
  readonly expr: string
  /** Name of a series, with {{label}}. */
  readonly legend?: string
  /** Its own axis, on the right, in this unit. */
  readonly right?: string
}

export interface Panel {
  readonly title: string
  /** What it shows, and what is to be thought of it. */
  readonly description: string
  readonly type: 'stat' | 'timeseries' | 'heatmap' | 'state-timeline' | 'table'
  /** Grafana's name of the unit. */
  readonly unit: string
  /** Of 24 columns; default 6 for a stat, 8 for all others. */
  readonly width?: number
  readonly queries: readonly Query[]
  /** Alerts on what is shown here: `at` is the value of the panel from which on they count. */
  readonly alerts?: readonly { readonly name: string; readonly at: number }[]
  /** Values below the threshold are the bad ones. */
  readonly low?: boolean
  /** What is said when there is no series. */
  readonly empty?: string
  /** The names of the series are what counts, not their values. */
  readonly names?: boolean
}

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly description: string
  readonly rows: readonly Row[]
}

const YES_OR_NO = { type: 'value', options: { 0: { text: 'no', color: 'transparent', index: 0 }, 1: { text: 'yes', color: 'blue', index: 1 } } }
const SOURCE = { type: 'prometheus', uid: '${datasource}' }
/** Grafana's thresholds count from the value on; the alerts only above it. */
export const ABOVE_NOTHING = 1e-9
const HEIGHT = { stat: 4, table: 6, timeseries: 8, heatmap: 8, 'state-timeline': 8 } as const

/** JSON text of the dashboard, ending in a newline. */
export function render({ uid, title, description, rows }: Dashboard): string {
  const panels: object[] = []
  let y = 0
  for (const row of rows) {
    panels.push({ id: panels.length + 1, type: 'row', title: row.title, collapsed: false, panels: [], gridPos: { x: 0, y, w: 24, h: 1 } })
    y++
    let x = 0
    let height = 0
    for (const panel of row.panels) {
      const w = panel.width ?? (panel.type === 'stat' ? 4 : 8)
      if (x + w > 24) {
        y += height
        x = height = 0
      }
      panels.push(panelOf(panel, panels.length + 1, { x, y, w, h: HEIGHT[panel.type] }))
      x += w
      height = Math.max(height, HEIGHT[panel.type])
    }
    y += height
  }
  const board = {
    uid, title, description, tags: ['rekey'], timezone: 'browser', schemaVersion: 39, version: 1, editable: false, refresh: '30s', graphTooltip: 1,
    time: { from: 'now-3h', to: 'now' }, annotations: { list: [] }, templating: { list: variables() }, links: [], panels,
  }
  return `${JSON.stringify(board, null, 2)}\n`
}

function variables(): object[] {
  const query = (name: string, label: string, text: string): object => ({
    name, label, type: 'query', datasource: SOURCE, query: { query: text, refId: name }, refresh: 2, sort: 1, multi: true, includeAll: true,
    allValue: '.*', current: { text: 'All', value: '$__all' },
  })
  return [
    { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus', current: {} },
    query('pipeline', 'Pipeline', 'label_values(rekey_up, pipeline)'),
    query('table', 'Table', 'label_values(rekey_snapshot_rows_estimated{pipeline=~"$pipeline"}, table)'),
  ]
}

function panelOf(panel: Panel, id: number, gridPos: object): object {
  const { title, description, type, queries } = panel
  const instant = type === 'stat' || type === 'table'
  return {
    id, type, title, description, gridPos, datasource: SOURCE, fieldConfig: { defaults: defaultsOf(panel), overrides: overridesOf(queries) },
    options: optionsOf(panel),
    ...(type === 'table' ? { transformations: [{ id: 'organize', options: { excludeByName: { Time: true, Value: true } } }] } : {}),
    targets: queries.map(({ expr, legend = '' }, i) => ({
      refId: refId(i), datasource: SOURCE, expr, legendFormat: legend, editorMode: 'code', range: !instant, instant,
      format: type === 'heatmap' ? 'heatmap' : type === 'table' ? 'table' : 'time_series',
    })),
  }
}

function refId(i: number): string {
  return String.fromCharCode(65 + i)
}

function overridesOf(queries: readonly Query[]): object[] {
  return queries.flatMap(({ right }, i) => (right === undefined ? [] : [{
    matcher: { id: 'byFrameRefID', options: refId(i) }, properties: [{ id: 'unit', value: right }, { id: 'custom.axisPlacement', value: 'right' }],
  }]))
}

function defaultsOf({ unit, type, alerts = [], low = false, empty }: Panel): object {
  const lines = [...new Set(alerts.map((alert) => alert.at))].sort((a, b) => a - b)
  const [below, above] = low ? ['red', 'green'] : ['green', 'red']
  const shades = lines.length > 1 && !low ? ['orange', 'red'] : [above, above]
  return {
    unit, ...(empty === undefined ? {} : { noValue: empty }),
    thresholds: { mode: 'absolute', steps: [{ color: below, value: null }, ...lines.map((at, i) => ({ color: shades[i], value: at === 0 ? ABOVE_NOTHING : at }))] },
    color: { mode: type === 'stat' ? 'thresholds' : 'palette-classic' },
    ...(type === 'timeseries' ? { min: 0, custom: { lineWidth: 1, fillOpacity: 8, showPoints: 'never', thresholdsStyle: { mode: lines.length > 0 ? 'line' : 'off' } } } : {}),
    ...(type === 'state-timeline' ? { custom: { fillOpacity: 70, lineWidth: 0 }, mappings: [YES_OR_NO] } : {}),
  }
}

function optionsOf({ type, names = false }: Panel): object {
  switch (type) {
    case 'stat':
      return { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'value', graphMode: 'none', textMode: names ? 'name' : 'auto' }
    case 'timeseries':
      return { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } }
    case 'state-timeline':
      return { showValue: 'never', mergeValues: true, legend: { displayMode: 'list', placement: 'bottom', showLegend: true } }
    case 'heatmap':
      return { calculate: false, color: { mode: 'scheme', scheme: 'Spectral', reverse: true, steps: 64 }, yAxis: { unit: 's' }, legend: { show: true } }
    case 'table':
      return { showHeader: true, cellHeight: 'sm' }
  }
}

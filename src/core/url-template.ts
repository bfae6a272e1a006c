/** Scheme and authority are fixed text without credentials; one `{id}` stands behind them. */
const TEMPLATE = /^https?:\/\/[^\s/?#@{}\\]+[/?#][^\s{}\\]*\{id\}[^\s{}\\]*$/

export function isUrlTemplate(text: string): boolean {
  return TEMPLATE.test(text) && URL.canParse(text.replace('{id}', 'x'))
}

/**
 * The URL of an id, percent-encoded whole, so it cannot leave its place in the template. Null for ids that a client would take for a step in
 * the path, encoded or not (WHATWG URL, 4.4 "dot segment").
 */
export function urlOf(template: string, id: string): string | null {
  if (id === '' || id === '.' || id === '..') return null
  return template.replace('{id}', () => encodeURIComponent(id).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`))
}

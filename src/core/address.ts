/** Where a listener stands: the host as node:net takes it, and the port (0: any that is free). */
export interface Address {
  readonly host: string
  readonly port: number
}

/** `127.0.0.1:9187`, `[::1]:0`, `localhost:9187`; null for anything else. */
export function parseAddress(text: string): Address | null {
  const found = /^(?:\[([0-9a-f:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/i.exec(text)
  if (!found || Number(found[3]) > 65_535) return null
  return { host: (found[1] ?? found[2]).toLowerCase(), port: Number(found[3]) }
}

/** True when only programs of the same machine can reach it (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3; RFC 6761, 6.3). */
export function isLoopback({ host }: Address): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

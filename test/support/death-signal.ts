import { spawnSync } from 'node:child_process'

let able: boolean | null = null

/**
 * The words to put before a command so that it dies with us: on Linux, setpriv (util-linux) asks the kernel to send it this signal when our
 * process ends in whatever way, also by kill -9. Empty where there is no setpriv. The kernel watches the thread that spawned: the main one.
 */
export function deathSignal(name: 'QUIT' | 'KILL'): string[] {
  able ??= process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'QUIT', 'true']).status === 0
  return able ? ['setpriv', '--pdeathsig', name] : []
}

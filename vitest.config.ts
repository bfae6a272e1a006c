import { defineConfig } from 'vitest/config'

/** Tests start real servers: processes of their own (the servers die with the process that started them), and two at a time. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/services/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    // The library's own second is too short for a server that starts while others do.
    expect: { poll: { timeout: 40_000 } },
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
  },
})

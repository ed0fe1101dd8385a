import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  // `effect-ai-gateway/Route` is the source file here, so that tests and examples need no build.
  resolve: {
    // The newest `@effect/ai-…` that npm has are made for a beta of Effect 4, whose modules had other addresses.
    alias: [
      { find: /^effect\/unstable\/(.+)$/, replacement: "effect/$1" },
      { find: "effect/Encoding", replacement: fileURLToPath(new URL("support/effectEncoding.ts", import.meta.url)) }
    ]
  },
  ssr: { resolve: { conditions: ["effect-ai-gateway-source", "module", "node", "development|production"] } },
  test: {
    include: ["test/**/*.test.ts"],
    environment: "node",
    reporters: ["default", fileURLToPath(new URL("support/slowestFiles.ts", import.meta.url))],
    allowOnly: false,
    passWithNoTests: false,
    // The runner leaves one core free, which is half of two. Half of the time a file waits: for sockets, leases,
    // programs that start.
    maxWorkers: availableParallelism() + 1,
    server: { deps: { inline: [/@effect\/ai-/] } },
    setupFiles: ["test/support/seed.ts"],
    // Programs that tests start share what was compiled of the sources: each of them starts in half of the time.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL("../.cache/compiled", import.meta.url)) },
    // Far beyond what any of them takes: a limit is for what hangs, and a machine that does something else beside is no
    // failure.
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})

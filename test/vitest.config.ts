import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  // `effect-ai-gateway/Route` is the source file here, so that tests and examples need no build.
  ssr: { resolve: { conditions: ["effect-ai-gateway-source", "module", "node", "development|production"] } },
  test: {
    include: ["test/**/*.test.ts"],
    environment: "node",
    allowOnly: false,
    passWithNoTests: false,
    setupFiles: ["test/support/seed.ts"],
    // Far beyond what any of them takes: a limit is for what hangs, and a machine that does something else beside is no failure.
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})

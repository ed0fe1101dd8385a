#!/usr/bin/env node
/**
 * The binary. `@effect/platform-node` is an optional peer, so it is imported late, where its absence can be explained.
 */
import * as Module from "node:module"
import * as v8 from "node:v8"

// Compiled code stays in the system's temporary folder, which halves the time of the next start. Not every runtime
// supports it.
Module.enableCompileCache?.()

if (process.argv[2] === "batch") {
  // A batch uses a small heap (`shared/memory.ts`). Loading the program would enlarge it before that takes effect.
  v8.setFlagsFromString("--semi-space-growth-factor=1")
  // Values that wait for their answers look long-lived to V8. It would allocate the next ones of their kind as old
  // objects, and retain everything that they hold.
  v8.setFlagsFromString("--no-allocation-site-pretenuring")
}

const isAbsent = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  error.code === "ERR_MODULE_NOT_FOUND" &&
  error.message.includes("@effect/platform-node")

const Effect = await import("effect/Effect")
const { run } = await import("./Cli.ts")
const platform = await Promise.all([
  import("@effect/platform-node/NodeRuntime"),
  import("@effect/platform-node/NodeServices")
]).catch((error: unknown) => {
  if (!isAbsent(error)) throw error
  console.error("effect-ai-gateway: the command line needs a package of Effect: npm install @effect/platform-node")
  process.exitCode = 1
  return undefined
})

if (platform !== undefined) {
  const [NodeRuntime, NodeServices] = platform
  // `run` reports failures: the runtime would print them on standard output, among the results.
  NodeRuntime.runMain(Effect.provide(run(process.argv.slice(2)), NodeServices.layer), { disableErrorReporting: true })
}

#!/usr/bin/env node
/**
 * The binary. `@effect/platform-node` is an optional peer, so it is imported late, where its absence can be explained.
 */
import * as Module from "node:module"
import * as v8 from "node:v8"

// Compiled code stays in the system's temporary folder: a second start takes half of the time. Not every runtime has
// it.
Module.enableCompileCache?.()

if (process.argv[2] === "batch") {
  // A batch is held to a small heap (`batch/memory.ts`). Loading the program would make it large before that has a say.
  v8.setFlagsFromString("--semi-space-growth-factor=1")
  // What waits for its answer looks long-lived to V8. It would put the next of its kind among the old objects at once,
  // and keep everything that they hold.
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
  // `run` reports what fails: the runtime would do so on standard output, among the results.
  NodeRuntime.runMain(Effect.provide(run(process.argv.slice(2)), NodeServices.layer), { disableErrorReporting: true })
}

/**
 * Runs `program.ts` in Node, Bun, Deno and the Edge Runtime of Vercel, against a local gateway on a socket:
 * `npm run runtimes`. Installs the runtimes into `.cache/runtimes`, some 200 MB. workerd and browsers have tests of
 * their own in the suite.
 */
import { execFile } from "node:child_process"
import { mkdir, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Effect from "effect/Effect"
import { build } from "esbuild"
import { serve } from "../../src/local/node.ts"
import { childEnv } from "../support/childEnv.ts"
import { makePeer } from "../support/httpPeer.ts"

const packages = ["bun@1.4.5", "deno@2.9.6", "edge-runtime@4.0.1"]
const folder = fileURLToPath(new URL("../../.cache/runtimes/", import.meta.url))
const bin = (name: string): string => `${folder}node_modules/.bin/${name}`

const edge = `
import { EdgeRuntime } from "edge-runtime"
import { readFileSync } from "node:fs"
const runtime = new EdgeRuntime()
runtime.evaluate(readFileSync("${folder}program.iife.js", "utf8"))
console.log(JSON.stringify(await runtime.evaluate(\`program.run("\${process.argv[2]}", "\${process.argv[3]}")\`)))
process.exit(0)
`
const module = `
import { run } from "./program.js"
console.log(JSON.stringify(await run(process.argv[2], process.argv[3])))
`

const contenders: ReadonlyArray<readonly [name: string, command: string, ...args: ReadonlyArray<string>]> = [
  [`Node ${process.versions.node}`, process.execPath, `${folder}module.mjs`],
  ["Bun 1.4.5", bin("bun"), "run", `${folder}module.mjs`],
  ["Deno 2.9.6", bin("deno"), "run", "--no-config", "--allow-net=127.0.0.1", `${folder}module.mjs`],
  ["Edge Runtime 4.0.1", process.execPath, `${folder}edge.mjs`]
]

const execute = (timeout: number, env: NodeJS.ProcessEnv, command: string, ...args: ReadonlyArray<string>) =>
  Effect.promise(() => promisify(execFile)(command, args, { cwd: folder, env, timeout }))

const program = Effect.gen(function* () {
  yield* Effect.promise(async () => {
    await mkdir(folder, { recursive: true })
    await writeFile(`${folder}package.json`, JSON.stringify({ private: true, type: "module" }))
    await writeFile(`${folder}edge.mjs`, edge)
    await writeFile(`${folder}module.mjs`, module)
    const common = {
      entryPoints: [fileURLToPath(new URL("program.ts", import.meta.url))],
      bundle: true,
      target: "es2022",
      conditions: ["effect-ai-gateway-source"]
    }
    await build({ ...common, format: "esm", outfile: `${folder}program.js` })
    await build({ ...common, format: "iife", globalName: "program", outfile: `${folder}program.iife.js` })
  })
  yield* execute(300_000, process.env, "npm", "install", "--no-audit", "--no-fund", "--save-exact", ...packages)
  let failed = 0
  for (const [name, command, ...args] of contenders) {
    const { url } = yield* serve({ port: 0 })
    const peer = yield* makePeer(() => undefined)
    let closedAt = Number.POSITIVE_INFINITY
    yield* Effect.forkScoped(
      Effect.tap(
        peer.until(() => peer.requests.length === 1 && peer.open() === 0),
        Effect.sync(() => {
          closedAt = performance.now()
        })
      )
    )
    const exit = yield* Effect.exit(execute(30_000, childEnv, command, ...args, url, peer.url))
    // The end of the process closes the connection too; after an interruption the program stays for a second.
    if (exit._tag === "Success" && performance.now() - closedAt > 500) {
      console.log(`${name}: ${JSON.parse(exit.value.stdout).join(", ")}`)
    } else {
      failed++
      console.error(`${name} FAILED: ${peer.open()} of ${peer.requests.length} requests open. ${String(exit)}`)
    }
  }
  return failed
})

process.exitCode = (await Effect.runPromise(Effect.scoped(program))) === 0 ? 0 : 1

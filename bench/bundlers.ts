/**
 * Weighs Workers as users bundle them: the Workers of the documentation and of `size/`, by wrangler, Vite, rollup,
 * webpack and esbuild. Each bundle answers one request in workerd before its weight counts. Kilobytes are 1,000 bytes,
 * after gzip.
 *
 *     npm run size -- --bundlers    installs wrangler, rollup and webpack into peers/bundlers when they are missing
 */
import { execFile } from "node:child_process"
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import * as Effect from "effect/Effect"
import { build as esbuild, transform } from "esbuild"
import { build as vite } from "vite"
import * as Workerd from "../test/workerd/support/workerd.ts"
import { install } from "./peers/install.ts"
import { withStage } from "./stage.ts"
import { makeService } from "./workerd/service.ts"

const here = fileURLToPath(new URL(".", import.meta.url))
const peers = `${here}peers/bundlers/`
const conditions = ["workerd", "worker", "browser"]
const run = promisify(execFile)

/** The Worker that a page shows first. */
const firstWorker = async (page: string): Promise<string> => {
  const source = await readFile(`${here}../docs/${page}`, "utf8")
  const blocks = [...source.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = ""]) => code)
  const found = blocks.find((code) => code.includes("export default"))
  if (found === undefined) throw new Error(`docs/${page} has no Worker`)
  return found
}

const fixture = (name: string): Promise<string> => readFile(`${here}size/${name}.ts`, "utf8")

/** The Workers, with their budget for each bundler: half a kilobyte above the current weight. */
const workers: ReadonlyArray<{
  readonly name: string
  readonly source: () => Promise<string>
  readonly budgets: Readonly<Record<string, number>>
}> = [
  {
    name: "binding, router, two providers",
    source: () => fixture("worker-two"),
    budgets: {
      wrangler: 92.8,
      "wrangler, minify": 65.3,
      "wrangler, minify, keep_names false": 60.7,
      vite: 58.1,
      rollup: 58.1,
      webpack: 58.9,
      esbuild: 60.6
    }
  },
  {
    name: "three dialects",
    source: () => fixture("worker-dialects"),
    budgets: {
      wrangler: 101.9,
      "wrangler, minify": 72.0,
      "wrangler, minify, keep_names false": 67.1,
      vite: 64.4,
      rollup: 64.2,
      webpack: 65.4,
      esbuild: 67.1
    }
  },
  {
    name: "the Worker of docs/workers.md",
    source: () => firstWorker("workers.md"),
    budgets: {
      wrangler: 106.6,
      "wrangler, minify": 75.0,
      "wrangler, minify, keep_names false": 69.8,
      vite: 67.0,
      rollup: 66.8,
      webpack: 68.1,
      esbuild: 69.9
    }
  }
]

/** A folder with the Worker and its imports: `worker.ts`, and the same without types. */
interface Project {
  readonly folder: string
  readonly out: (name: string) => string
}

const wrangler = async ({ folder, out }: Project, name: string, options: object): Promise<string> => {
  const config = join(folder, `wrangler-${name}.json`)
  await writeFile(
    config,
    JSON.stringify({
      name: "weighed",
      main: "worker.ts",
      compatibility_date: "2026-07-01",
      compatibility_flags: ["enable_request_signal"],
      ai: { binding: "AI" },
      vars: { AI_GATEWAY_ID: "gw" },
      ...options
    })
  )
  const bin = join(peers, "node_modules/wrangler/bin/wrangler.js")
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false", CI: "1" }
  await run(process.execPath, [bin, "deploy", "--dry-run", "--outdir", out(name), "--config", config], {
    cwd: folder,
    env
  })
  return readFile(join(out(name), "worker.js"), "utf8")
}

/** Every bundler, as its users call it for a Worker. */
const bundlers: Readonly<Record<string, (project: Project) => Promise<string>>> = {
  wrangler: (project) => wrangler(project, "plain", {}),
  "wrangler, minify": (project) => wrangler(project, "minify", { minify: true }),
  "wrangler, minify, keep_names false": (project) => wrangler(project, "small", { minify: true, keep_names: false }),
  // Built as a Worker, not as a library: a library keeps its white space.
  vite: async ({ folder, out }) => {
    await vite({
      root: folder,
      logLevel: "silent",
      configFile: false,
      ssr: { target: "webworker", noExternal: true, resolve: { conditions } },
      build: {
        ssr: "worker.ts",
        outDir: out("vite"),
        minify: true,
        target: "es2022",
        rolldownOptions: { output: { entryFileNames: "worker.js" } }
      }
    })
    return readFile(join(out("vite"), "worker.js"), "utf8")
  },
  rollup: async ({ folder }) => {
    const need = createRequire(join(peers, "package.json"))
    const { rollup } = await import(need.resolve("rollup"))
    const { nodeResolve } = await import(need.resolve("@rollup/plugin-node-resolve"))
    const terser = await import(need.resolve("@rollup/plugin-terser"))
    const bundle = await rollup({
      input: join(folder, "worker.js"),
      plugins: [nodeResolve({ exportConditions: conditions, browser: true })],
      logLevel: "silent"
    })
    const { output } = await bundle.generate({
      format: "es",
      plugins: [(terser.default.default ?? terser.default)({ ecma: 2022, module: true })]
    })
    return output[0].code
  },
  webpack: async ({ folder, out }) => {
    const need = createRequire(join(peers, "package.json"))
    const webpack = need("webpack")
    const compiler = webpack({
      mode: "production",
      entry: join(folder, "worker.js"),
      target: ["webworker", "es2022"],
      experiments: { outputModule: true },
      output: { path: out("webpack"), filename: "worker.js", library: { type: "module" }, chunkFormat: "module" },
      resolve: { conditionNames: [...conditions, "import"] },
      performance: false
    })
    await new Promise<void>((resolve, reject) => {
      compiler.run((error: Error | null, stats: { hasErrors: () => boolean; toString: () => string } | undefined) => {
        if (error === null && stats?.hasErrors() === false) resolve()
        else reject(error ?? new Error(stats?.toString()))
      })
    })
    return readFile(join(out("webpack"), "worker.js"), "utf8")
  },
  esbuild: async ({ folder }) => {
    const { outputFiles } = await esbuild({
      entryPoints: [join(folder, "worker.ts")],
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      conditions
    })
    return outputFiles[0]?.text ?? ""
  }
}

/** Sends one request to a bundle in workerd: a bundle that does not answer has no weight. */
const answers = (code: string): Promise<void> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* makeService
        const worker = yield* Workerd.start({ code, ai: { AI: { url } }, vars: { AI_GATEWAY_ID: "gw" } })
        const response = yield* worker.fetch("/", { method: "POST", body: "Which planet?" })
        const text = yield* Effect.promise(() => response.text())
        if (response.status !== 200 || !text.includes("Saturn.")) throw new Error(`${response.status}: ${text}`)
      })
    )
  )

/** Prints the table; the process fails when a budget is exceeded. */
export const weigh = async (): Promise<void> => {
  install(["bundlers"])
  await withStage(async (stage) => {
    for (const [index, { budgets, name, source }] of workers.entries()) {
      const folder = join(stage, `weighed-${index}`)
      await mkdir(join(folder, "node_modules"), { recursive: true })
      await symlink(stage.replace(/\/$/, ""), join(folder, "node_modules/effect-ai-gateway"), "junction")
      await symlink(join(here, "../node_modules/effect"), join(folder, "node_modules/effect"), "junction")
      const text = await source()
      await writeFile(join(folder, "worker.ts"), text)
      await writeFile(join(folder, "worker.js"), (await transform(text, { loader: "ts", format: "esm" })).code)
      await writeFile(join(folder, "package.json"), JSON.stringify({ name: "weighed", type: "module" }))
      console.log(name)
      for (const [bundler, bundle] of Object.entries(bundlers)) {
        const code = await bundle({ folder, out: (part) => join(folder, "out", part) })
        await answers(code)
        const kilobytes = gzipSync(code, { level: 9 }).length / 1000
        const budget = budgets[bundler]
        const verdict = budget === undefined ? "" : `  budget ${budget} kB: ${kilobytes <= budget ? "met" : "not met"}`
        if (budget !== undefined && kilobytes > budget) process.exitCode = 1
        console.log(`  ${bundler.padEnd(38)}${kilobytes.toFixed(1).padStart(7)} kB${verdict}`)
      }
    }
  })
}

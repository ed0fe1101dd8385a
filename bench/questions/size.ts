/** Measures a program's fixed costs: bytes of its bundle, and the time of a first import in a fresh process. */
import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { build } from "esbuild"
import { median, type Spread, shuffler, spread } from "../measure.ts"
import { isInstalled } from "../peers/install.ts"
import type { Question, Row } from "../question.ts"
import { budgets, fixtures, measure, partsOf, type Size } from "../size.ts"
import { withStage } from "../stage.ts"

/** An entry point to bundle. */
interface Bundled {
  readonly name: string
  readonly ours: boolean
  readonly source: string
  /** Folder in which its imports resolve. */
  readonly folder: string
  readonly platform?: "node"
  /** Import of a fresh process; absent where only the bundle matters. */
  readonly imported?: string
}

const texts: Readonly<Record<string, string>> = {
  "effect-core": "Effect: a service, retry, timeout",
  effect: "Effect: the same with Schema",
  binding: "Worker: binding, no router",
  worker: "Worker: binding and router, one dialect",
  "worker-dialects": "Worker: binding and router, three dialects"
}

const project = fileURLToPath(new URL("../..", import.meta.url))

/** Entry points that need Node. */
const forNode = /^\.\/(cluster|journal|local|undici)(\/|$)/

/** Our built entry points that run in a Worker. */
const entries = (stage: string): ReadonlyArray<Bundled> => {
  const { exports, name }: { readonly name: string; readonly exports: Readonly<Record<string, unknown>> } = JSON.parse(
    readFileSync(`${stage}package.json`, "utf8")
  )
  return Object.entries(exports).flatMap(([path, target]): ReadonlyArray<Bundled> => {
    if (typeof target !== "object" || target === null || !("default" in target) || forNode.test(path)) return []
    const imported = `${name}${path.slice(1)}`
    if (typeof target.default !== "string" || !existsSync(`${stage}${target.default}`)) return []
    const source = `export * from ${JSON.stringify(imported)}`
    return [{ name: imported, ours: true, source, folder: stage, imported }]
  })
}

const peer = (name: string, folder: string, imported: string, names: string): ReadonlyArray<Bundled> => {
  const own = folder === "" || isInstalled(folder)
  const source = `export { ${names} } from ${JSON.stringify(imported)}`
  const place = folder === "" ? project : `${project}bench/peers/${folder}/`
  return own ? [{ name, ours: false, source, folder: place, platform: "node", imported }] : []
}

const peers = (all: boolean): ReadonlyArray<Bundled> => [
  ...peer("OpenAI SDK", "", "openai", "default"),
  ...peer("AI SDK: generateText", "", "ai", "generateText"),
  ...peer("AI SDK: generateText, streamText", "", "ai", "generateText, streamText"),
  ...(all
    ? [
        ...peer("p-retry", "core", "p-retry", "default"),
        ...peer("cockatiel", "core", "cockatiel", "retry, handleAll, timeout, fallback, wrap, ExponentialBackoff"),
        ...peer("opossum", "core", "opossum", "default"),
        ...peer("ai-fallback", "ai", "ai-fallback", "createFallback"),
        ...peer("ai-retry", "ai", "ai-retry", "createRetryable"),
        ...peer("ai-gateway-provider", "ai", "ai-gateway-provider", "createAiGateway"),
        ...peer("LangChain: ChatOpenAI", "langchain", "@langchain/openai", "ChatOpenAI")
      ]
    : [])
]

/** The router of a stage in one file, like a bundled server imports it. */
const bundledRouter = async (stage: string): Promise<Bundled> => {
  const source = `export * from "effect-ai-gateway/Router"`
  await build({
    stdin: { contents: source, resolveDir: stage },
    bundle: true,
    format: "esm",
    platform: "node",
    minify: true,
    outfile: `${stage}bundled-router.mjs`,
    logLevel: "error"
  })
  return {
    name: "effect-ai-gateway/Router, bundled",
    ours: true,
    source,
    folder: stage,
    imported: "./bundled-router.mjs"
  }
}

const run = promisify(execFile)

/** Milliseconds of an import in a fresh process. */
const importTime = async ({ folder, imported = "" }: Bundled): Promise<number> => {
  const script = `const before = performance.now(); await import(${JSON.stringify(imported)}); console.log(performance.now() - before)`
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], { cwd: folder })
  return Number(stdout)
}

/** The subset for a quick run. */
const quickly = /^(OpenAI SDK|effect-ai-gateway(\/(Router(, bundled)?|Provider|GatewayService))?)$/

const exactly = (value: number): Spread => ({ median: value, low: value, high: value })

export const question: Question = {
  name: "size",
  title: "Bundle size and time of the first import",
  ask: ({ peers: withPeers = true, quick }) =>
    withStage(async (stage) => {
      const sources = fixtures()
      const worked = [...Object.keys(texts).filter((name) => sources.has(name))].map(
        (name): Bundled => ({
          name: texts[name] ?? name,
          ours: !name.startsWith("effect"),
          source: sources.get(name) ?? "",
          folder: stage
        })
      )
      const others = [...entries(stage), await bundledRouter(stage), ...peers(withPeers)]
      const all = [...worked, ...(quick ? others.filter(({ name }) => quickly.test(name)) : others)]
      const sizes = new Map<string, Size>()
      for (const one of all) sizes.set(one.name, await measure(one.source, one.folder, one.platform))
      const times = new Map<string, Array<number>>()
      const timed = all.filter(({ imported }) => imported !== undefined)
      const shuffled = shuffler()
      for (let round = 0; round < (quick ? 1 : 5); round++) {
        for (const one of shuffled(timed)) {
          times.set(one.name, [...(times.get(one.name) ?? []), await importTime(one)])
        }
      }
      const rows = all.map(({ name, ours }): Row => {
        const size = sizes.get(name)
        const taken = times.get(name)
        return {
          contender: name,
          ours,
          values: {
            ...(size !== undefined && { raw: exactly(size.raw / 1000), gzip: exactly(size.gzip / 1000) }),
            ...(taken !== undefined && { import: spread(taken) })
          }
        }
      })
      const whole = sizes.get(texts["worker"] ?? "")
      const worker = (whole?.gzip ?? Number.NaN) / 1000
      const shares = whole === undefined ? [] : partsOf(whole)
      const target = (what: string, bound: number) => ({
        what,
        bound,
        direction: "at most" as const,
        unit: "kB",
        digits: 1,
        measured: worker
      })
      const slowest = median(times.get("effect-ai-gateway/Router") ?? [])
      const fast = median(times.get("effect-ai-gateway/Router, bundled") ?? [])
      return {
        columns: [
          { key: "raw", title: "minified", unit: "kB", digits: 1, better: "lower" },
          { key: "gzip", title: "gzip", unit: "kB", digits: 1, better: "lower" },
          { key: "import", title: "first import", unit: "ms", digits: 0, better: "lower" }
        ],
        rows,
        targets: [
          target("gzip of a Worker with binding and router", budgets["worker"] ?? 45),
          target("gzip of the same without what depends on Schema", 30)
        ],
        notes: [
          "Bundles are made with esbuild as wrangler makes them: minified, as modules, with everything that they use of Effect and nothing external. kB are 1,000 bytes. An entry point is bundled with all its exports; a program takes some of them.",
          "The Worker of these figures contains no Schema, so both of its targets use the same bundle.",
          `Its parts, minified: ${shares.map(([part, bytes]) => `${part} ${(bytes / 1000).toFixed(1)} kB`).join(", ")}.`,
          `A first import is measured in a fresh process of Node, from the published single files, without the time of the process itself${Number.isNaN(slowest) ? "" : `; that of the router takes ${slowest.toFixed(0)} ms`}${Number.isNaN(fast) ? "" : `, and ${fast.toFixed(0)} ms from a bundle`}.`
        ],
        charts: ["gzip"]
      }
    })
}

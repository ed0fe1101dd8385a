/**
 * Measures a program's cost in bytes: every fixture in `size/` and every public entry point of the built library,
 * bundled like wrangler does (esbuild, minified) with its imports from Effect. Kilobytes are 1,000 bytes.
 *
 *     npm run size                  the table
 *     npm run size -- --modules     and what each module adds to the fixtures that have a budget
 *     npm run size -- --bundlers    what Workers weigh as users bundle them; see `bundlers.ts`
 */
import { readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { gzipSync } from "node:zlib"
import { build } from "esbuild"

/** Budgets of fixtures after gzip, in kilobytes. Fixtures without a budget are only printed. */
export const budgets: Readonly<Record<string, number>> = { worker: 61 }

/** Bytes of one bundle, and the bytes that each module adds to it before compression, largest first. */
export interface Size {
  readonly raw: number
  readonly gzip: number
  readonly modules: ReadonlyArray<readonly [path: string, bytes: number]>
}

/** Entry points for Node name themselves so; a `node:` import in any other one is an error. */
const platformOf = (source: string): "browser" | "node" =>
  /\/(node|miniflare|journal|undici)"/.test(source) ? "node" : "browser"

/** Bundles `source` as a module in `folder`, and measures the result. */
export const measure = async (source: string, folder: string, platform = platformOf(source)): Promise<Size> => {
  const { metafile, outputFiles } = await build({
    stdin: { contents: source, resolveDir: folder, loader: "ts", sourcefile: "entry.ts" },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    target: "es2022",
    platform,
    external: ["miniflare"],
    conditions: ["workerd", "worker", "browser"],
    // A name that a module does not export would be `undefined` and add no bytes.
    logOverride: { "import-is-undefined": "error" },
    logLevel: "error"
  })
  const modules = Object.values(metafile.outputs)
    .flatMap((output) => Object.entries(output.inputs))
    .map(([path, { bytesInOutput }]) => [path.replace(/^.*node_modules\//, ""), bytesInOutput] as const)
    .filter(([, bytes]) => bytes > 0)
    .sort((a, b) => b[1] - a[1])
  return {
    raw: outputFiles.reduce((sum, file) => sum + file.contents.byteLength, 0),
    gzip: outputFiles.reduce((sum, file) => sum + gzipSync(file.contents, { level: 9 }).length, 0),
    modules
  }
}

/** Parts by module path; the first match counts. */
const parts: ReadonlyArray<readonly [part: string, path: RegExp]> = [
  ["Effect", /^effect\//],
  ["classification of failures", /\/(internal\/classifier\/.*|Classifier|GatewayError)\.js$/],
  [
    "requests, options, responses and logs",
    /\/(GatewayOptions|UniversalRequest|GatewayResponse|GatewayLog|internal\/(options|data)\/.*)\.js$/
  ],
  ["the service over the binding", /\/(GatewayService|internal\/(gateway|transport|hotpath)\/.*)\.js$/],
  ["a dialect and its providers", /\/(Provider|Chat|internal\/dialect\/.*|internal\/route\/(providers|leaf))\.js$/],
  ["routes and the router", /./]
]

/** Bytes before compression by part. */
export const partsOf = ({ modules }: Size): ReadonlyArray<readonly [part: string, bytes: number]> => {
  const sums = new Map(parts.map(([part]) => [part, 0]))
  for (const [path, bytes] of modules) {
    const part = parts.find(([, pattern]) => pattern.test(path))?.[0] ?? ""
    sums.set(part, (sums.get(part) ?? 0) + bytes)
  }
  return [...sums]
}

/** The fixtures: name to source text. */
export const fixtures = (): ReadonlyMap<string, string> => {
  const folder = fileURLToPath(new URL("size/", import.meta.url))
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts"))
  return new Map(files.map((file) => [basename(file, ".ts"), readFileSync(`${folder}${file}`, "utf8")]))
}

const main = async () => {
  const root = fileURLToPath(new URL("..", import.meta.url))
  const { exports, name } = JSON.parse(readFileSync(`${root}package.json`, "utf8"))
  const columns = (label: string, ...numbers: ReadonlyArray<string>) =>
    [label.padEnd(40), ...numbers.map((number) => number.padStart(9))].join("")
  const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1)
  console.log(columns("kB", "minified", "gzip"))
  for (const [fixture, source] of fixtures()) {
    const { gzip, modules, raw } = await measure(source, root)
    const row = columns(`size/${fixture}.ts`, kilobytes(raw), kilobytes(gzip))
    const budget = budgets[fixture]
    if (budget === undefined) {
      console.log(row)
      continue
    }
    const met = gzip <= budget * 1000
    if (!met) process.exitCode = 1
    console.log(`${row}  budget ${budget} kB gzip: ${met ? "met" : "not met"}`)
    if (process.argv.includes("--modules")) {
      for (const [path, bytes] of modules) console.log(columns(`  ${path}`, kilobytes(bytes)))
    }
  }
  for (const [path, target] of Object.entries(exports)) {
    if (target === null || path.endsWith(".json")) continue
    const entry = `${name}${path.slice(1)}`
    const { gzip, raw } = await measure(`export * from ${JSON.stringify(entry)}`, root)
    console.log(columns(entry, kilobytes(raw), kilobytes(gzip)))
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  if (process.argv.includes("--bundlers")) await (await import("./bundlers.ts")).weigh()
  else await main()
}

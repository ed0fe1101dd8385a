/**
 * The rules of the source tree as one pure function from files to violations, so that the rules themselves can be
 * tested.
 */
import { existsSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join, posix } from "node:path"
import { parseSync } from "vite"

/** Path relative to the repository, with `/`, to source text. */
export type Files = ReadonlyMap<string, string>

/** Dependencies point to an equal or earlier layer; the rooms of `internal` stand beside the values. */
const layers = ["values", "services", "composition", "edges"] as const

const roots: Record<string, (typeof layers)[number]> = {
  BatchJournal: "values",
  BreakerStore: "values",
  RouterEvent: "values",
  Classifier: "values",
  ErrorSchema: "values",
  GatewayError: "values",
  GatewayLog: "values",
  GatewayOptions: "values",
  GatewayResponse: "values",
  Limiter: "values",
  LogTrail: "values",
  Pricing: "values",
  UniversalRequest: "values",
  AiService: "services",
  GatewayService: "services",
  Transport: "services",
  Batch: "composition",
  Chat: "composition",
  Provider: "composition",
  Route: "composition",
  Recording: "composition",
  Router: "composition",
  RouterMetrics: "composition",
  StreamResponse: "composition"
}

/** Folders with a sub-path export of their own. Only `cli` puts several of them together. */
const edges = ["ai", "cli", "cluster", "fetch", "journal", "local", "testing", "undici", "worker"]

/**
 * Rooms by floor, lowest first: folders, and single files where a file is a room. A room imports rooms of lower floors,
 * never a neighbour on its own floor, by values and by types alike.
 */
const floors: Readonly<Record<string, ReadonlyArray<ReadonlyArray<string>>>> = {
  internal: [
    ["data", "hotpath"],
    ["transport", "classifier", "options", "admission"],
    ["dialect", "gateway"],
    ["ai", "route", "server", "batch"],
    ["router"]
  ],
  local: [["wire"], ["upstream"], ["Upstream"], ["gateway"], ["surface"], ["LocalGateway"], ["node"], ["miniflare"]],
  testing: [["peer", "conformance"], ["ScriptedPeer"], ["simulation"], ["Simulation", "Conformance"], ["Testing"]],
  cli: [["shared"], ["input", "report"], ["output"], ["batch", "serve"], ["cluster"], ["Cli"], ["bin"]]
}

/** Pairs of files that may import each other, with the reason. */
export const exceptions: ReadonlyArray<{ readonly from: string; readonly to: string; readonly why: string }> = [
  {
    from: "src/internal/options/encoding.ts",
    to: "src/GatewayOptions.ts",
    why: "a public type with an internal implementation, as Effect's own modules have it"
  }
]

const isException = (from: string, to: string): boolean =>
  exceptions.some((exception) => exception.from === from && exception.to === to)

const httpImporters = [
  "src/internal/transport/httpClient.ts",
  "src/internal/transport/request.ts",
  "src/Transport.ts",
  "src/ai/GatewayHttpClient.ts",
  "src/ai/withRequest.ts",
  "src/cli/",
  "src/local/",
  "src/undici/"
]
const sseImporters = ["src/internal/transport/sse.ts"]
const nodeImporters = [
  "src/cli/",
  "src/journal/",
  "src/undici/",
  "src/local/node.ts",
  "src/local/upstream/resettingFetch.ts"
]
/** Optional peers besides Effect's own packages, and the one module that needs each. */
const peerImporters: Record<string, string> = {
  miniflare: "src/local/miniflare.ts",
  "@effect/sql-pg/PgClient": "src/cli/cluster/database.ts"
}
const unstableImporters = [
  "src/internal/transport/httpClient.ts",
  "src/internal/transport/request.ts",
  "src/internal/transport/sse.ts",
  "src/Transport.ts",
  ...edges.map((edge) => `src/${edge}/`)
]
/** Lines of code, so without comments and blank lines. Tests are lists of cases, which read well at some length. */
const maxLines = 400
const maxTestLines = 600

const effectSource = join(dirname(createRequire(import.meta.url).resolve("effect/package.json")), "src")

type Stability = "stable" | "unstable" | "experimental" | "barrel" | "missing"

/** The first `@stability` tag of an Effect module is the tag of the module itself. */
export const stabilityOf = (specifier: string): Stability => {
  const path = specifier === "effect" ? "index" : specifier.slice("effect/".length)
  const file = join(effectSource, `${path}.ts`)
  if (path === "index" || (!existsSync(file) && existsSync(join(effectSource, path, "index.ts")))) return "barrel"
  if (!existsSync(file)) return "missing"
  const tag = /@stability (stable|unstable|experimental)/.exec(readFileSync(file, "utf8"))?.[1]
  return tag === "stable" || tag === "experimental" ? tag : "unstable"
}

interface Import {
  readonly specifier: string
  readonly line: number
}

interface Module {
  readonly path: string
  readonly imports: ReadonlyArray<Import>
  readonly problems: ReadonlyArray<string>
}

interface Node {
  readonly type: string
  readonly start: number
  readonly [key: string]: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

const visit = (value: unknown, onNode: (node: Node) => void): void => {
  if (Array.isArray(value)) {
    for (const item of value) visit(item, onNode)
  } else if (isNode(value)) {
    onNode(value)
    for (const key in value) visit(value[key], onNode)
  }
}

const nameOf = (value: unknown): string => {
  if (!isNode(value)) return ""
  if (value.type === "Identifier") return String(value.name)
  if (value.type === "MemberExpression") return `${nameOf(value.object)}.${nameOf(value.property)}`
  return ""
}

/** Time and chance come from `Clock`, `Random` and `Effect.sleep`, or a test cannot hold them still. */
const ambient = new Set(["Date.now", "Math.random", "performance.now", "setTimeout", "setInterval"])
const ownTimers = new Set([
  // It asks every clock but the ordinary one, whose timers these are.
  "src/internal/hotpath/timer.ts",
  // It keeps a request alive, and nothing waits for it.
  "src/worker/Worker.ts"
])

const linesOfCode = (
  source: string,
  comments: ReadonlyArray<{ readonly start: number; readonly end: number }>
): number => {
  const code: Array<string> = []
  let from = 0
  for (const { end, start } of comments) {
    code.push(source.slice(from, start))
    from = end
  }
  code.push(source.slice(from))
  return code
    .join("")
    .split("\n")
    .filter((line) => line.trim() !== "").length
}

const parse = (path: string, source: string): Module => {
  const { comments, errors, program } = parseSync(path, source)
  const imports: Array<Import> = []
  const problems: Array<string> = errors.map((error) => `${path}: does not parse: ${error.message}`)
  const inSource = path.startsWith("src/")
  const lineOf = (offset: number) => source.slice(0, offset).split("\n").length
  const report = (node: { readonly start: number }, message: string) =>
    problems.push(`${path}:${lineOf(node.start)}: ${message}`)

  visit(program, (node) => {
    const from = node.source
    if (isNode(from) && typeof from.value === "string") {
      imports.push({ specifier: from.value, line: lineOf(node.start) })
    }
    if (node.type === "TSAsExpression" && isNode(node.typeAnnotation)) {
      if (node.typeAnnotation.type === "TSAnyKeyword") report(node, "`as any`")
    }
    if (!inSource) return
    if (node.type === "CallExpression" && ambient.has(nameOf(node.callee)) && !ownTimers.has(path)) {
      report(node, `\`${nameOf(node.callee)}\`: use Clock, Random or Effect.sleep`)
    }
    if (node.type === "NewExpression" && nameOf(node.callee) === "Date") {
      if (Array.isArray(node.arguments) && node.arguments.length === 0) report(node, "`new Date()`: use Clock")
    }
  })
  for (const comment of comments) {
    const silenced = /@ts-(?:ignore|nocheck|expect-error)/.exec(comment.value)?.[0]
    if (silenced !== undefined && (inSource || silenced !== "@ts-expect-error")) report(comment, silenced)
  }
  const lines = linesOfCode(source, comments)
  const limit = path.startsWith("test/") ? maxTestLines : maxLines
  if (lines > limit) problems.push(`${path}: ${lines} lines of code, split at ${limit}`)
  return { path, imports, problems }
}

const rootName = (path: string): string | undefined => /^src\/([^/]+)\.ts$/.exec(path)?.[1]
const folderName = (path: string): string | undefined => /^src\/([^/]+)\//.exec(path)?.[1]
const isOneOf = (path: string, allowed: ReadonlyArray<string>) =>
  allowed.some((entry) => (entry.endsWith("/") ? path.startsWith(entry) : path === entry))

const layerOf = (path: string): (typeof layers)[number] | "internal" | "index" | undefined => {
  const root = rootName(path)
  if (root !== undefined) return root === "index" ? "index" : roots[root]
  const folder = folderName(path)
  return folder === "internal" ? "internal" : folder !== undefined && edges.includes(folder) ? "edges" : undefined
}

/** The room of a file in a folder with floors: its folder there, or the file itself. */
const roomOf = (path: string): string | undefined => /^src\/[^/]+\/([^/.]+)/.exec(path)?.[1]

const floorOf = (folder: string, room: string): number =>
  floors[folder]?.findIndex((rooms) => rooms.includes(room)) ?? -1

/** Why a file may not import another one of the same folder, or `undefined`. */
const upstairs = (folder: string, from: string, to: string): string | undefined => {
  const [above, below] = [roomOf(from), roomOf(to)]
  if (floors[folder] === undefined || above === undefined || below === undefined || above === below) return undefined
  const [floor, target] = [floorOf(folder, above), floorOf(folder, below)]
  // Reported once, as a room without a floor.
  if (floor < 0 || target < 0 || target < floor) return undefined
  const where = target === floor ? "is on the same floor" : `is ${target - floor} floors higher`
  return `${folder}/${above} may not import ${folder}/${below}, which ${where}`
}

const rank = (layer: (typeof layers)[number] | "internal") => (layer === "internal" ? 0 : layers.indexOf(layer))

/** Why `from` may not import `to` (both in `src/`), or `undefined`. */
const direction = (from: string, to: string): string | undefined => {
  const [above, below] = [layerOf(from), layerOf(to)]
  if (above === undefined || below === undefined) return undefined // reported once, as a file without a place
  if (folderName(to) === "testing" && folderName(from) !== "testing") return "nothing imports testing/"
  if (below === "index") return "nothing imports the index"
  if (above === "index") {
    return rootName(to) === undefined ? "the index exports root modules only" : undefined
  }
  if (rank(below) > rank(above)) return `${above} may not import ${below}`
  if (below === "edges" && folderName(from) !== folderName(to) && folderName(from) !== "cli") {
    return `the edge ${folderName(from)}/ may not import the edge ${folderName(to)}/`
  }
  const folder = folderName(from)
  const wrong = folder !== undefined && folder === folderName(to) ? upstairs(folder, from, to) : undefined
  if (wrong !== undefined) return wrong
  if (rootName(to) === "Chat" && above === "composition" && !["Provider", "Route"].includes(rootName(from) ?? "")) {
    return "of the composition modules only Provider and Route import Chat"
  }
  return undefined
}

const checkPackage = (path: string, specifier: string): string | undefined => {
  if (specifier === "@effect/platform-node") return "barrel import"
  if (specifier.startsWith("node:") || specifier.startsWith("@effect/platform-node/")) {
    return isOneOf(path, nodeImporters) ? undefined : `${specifier} is for ${nodeImporters.join(" and ")} only`
  }
  const importer = peerImporters[specifier]
  if (importer !== undefined) return path === importer ? undefined : `${specifier} is for ${importer} only`
  if (specifier !== "effect" && !specifier.startsWith("effect/")) return `${specifier} is not a dependency at run time`
  const stability = stabilityOf(specifier)
  if (stability === "barrel") return "barrel import: bundlers do not tree-shake it"
  if (stability === "missing") return `Effect has no module ${specifier}`
  if (specifier.startsWith("effect/http/") && !isOneOf(path, httpImporters)) {
    return `${specifier} is for ${httpImporters.join(", ")} only`
  }
  if (specifier === "effect/encoding/Sse" && !isOneOf(path, sseImporters)) {
    return `${specifier} is for ${sseImporters.join(", ")} only`
  }
  if (stability !== "stable" && !isOneOf(path, unstableImporters)) return `${specifier} is ${stability}`
  return undefined
}

const checkImport = (path: string, specifier: string, files: Files): string | undefined => {
  const inSource = path.startsWith("src/")
  if (!specifier.startsWith(".")) {
    if (inSource) return checkPackage(path, specifier)
    const effect = specifier === "effect" || specifier.startsWith("effect/")
    return effect && stabilityOf(specifier) === "barrel" ? "barrel import" : undefined
  }
  if (!inSource) return undefined
  const target = posix.join(posix.dirname(path), specifier)
  if (!files.has(target)) return `${specifier} is no source file (extension \`.ts\`, inside src/)`
  return direction(path, target)
}

/** Groups of modules that import each other, by types too, each reported once from its alphabetically first member. */
const cycles = (modules: ReadonlyArray<Module>, files: Files): Array<string> => {
  const edgesOf = new Map(
    modules.map((module) => [
      module.path,
      module.imports
        .filter((item) => item.specifier.startsWith("."))
        .map((item) => posix.join(posix.dirname(module.path), item.specifier))
        .filter((target) => files.has(target) && target !== module.path && !isException(module.path, target))
    ])
  )
  const found: Array<string> = []
  const walk = (start: string, path: ReadonlyArray<string>, seen: Set<string>): ReadonlyArray<string> | undefined => {
    for (const next of edgesOf.get(path.at(-1) ?? "") ?? []) {
      if (next === start) return [...path, start]
      if (next < start || seen.has(next)) continue
      seen.add(next)
      const cycle = walk(start, [...path, next], seen)
      if (cycle !== undefined) return cycle
    }
    return undefined
  }
  for (const start of edgesOf.keys()) {
    const cycle = walk(start, [start], new Set())
    if (cycle !== undefined) found.push(`cycle: ${cycle.join(" → ")}`)
  }
  return found
}

/** Exceptions that nothing needs any more. */
export const staleExceptions = (files: Files): ReadonlyArray<string> =>
  exceptions
    .filter(({ from, to }) => {
      const source = files.get(from)
      const targets = source === undefined ? [] : parse(from, source).imports.map(({ specifier }) => specifier)
      return !targets.some((specifier) => posix.join(posix.dirname(from), specifier) === to)
    })
    .map(({ from, to }) => `${from} does not import ${to} any more`)

/** Every broken rule, as `path:line: what`. Files outside `src/` are held to the rules that make sense there. */
export const violations = (files: Files): ReadonlyArray<string> => {
  const modules = [...files].map(([path, source]) => parse(path, source))
  const sources = modules.filter((module) => module.path.startsWith("src/"))
  return [
    ...modules.flatMap((module) => module.problems),
    ...sources
      .filter((module) => layerOf(module.path) === undefined)
      .map((module) => `${module.path}: has no place in the layers, give it one in test/support/architecture.ts`),
    ...sources.flatMap(({ path }) => {
      const [folder, room] = [folderName(path), roomOf(path)]
      const hasFloor =
        folder === undefined || floors[folder] === undefined || (room !== undefined && floorOf(folder, room) >= 0)
      return hasFloor ? [] : [`${path}: ${room} has no floor, give it one in test/support/architecture.ts`]
    }),
    ...modules.flatMap((module) =>
      module.imports.flatMap((item) => {
        const problem = checkImport(module.path, item.specifier, files)
        return problem === undefined ? [] : [`${module.path}:${item.line}: ${problem}`]
      })
    ),
    ...cycles(sources, files)
  ]
}

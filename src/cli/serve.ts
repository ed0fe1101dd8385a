/** `effect-ai-gateway serve`: runs the local gateway as a process. */
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { GatewayError } from "../GatewayError.ts"
import * as Local from "../local/node.ts"
import * as Upstream from "../local/Upstream.ts"
import * as Faults from "../local/upstream/faults.ts"
import { CliFailure } from "./shared/failure.ts"

/** Default of `--port`. */
export const defaultPort = 8790
/** Token for the logs API when the gateway has none: a client requires some value, and the gateway accepts any. */
const placeholderToken = "local"

const flags = {
  port: Flag.Int("port").pipe(
    Flag.withAlias("p"),
    Flag.withDescription(`Port to listen on; 0 selects a free one (default: ${defaultPort})`),
    Flag.withDefault(defaultPort)
  ),
  host: Flag.String("host").pipe(
    Flag.withDescription("Interface to listen on (default: 127.0.0.1); one that other machines reach needs a token"),
    Flag.withDefault("127.0.0.1")
  ),
  gateways: Flag.String("gateway").pipe(
    Flag.withMetavar("id"),
    Flag.withDescription("Id of a gateway; may be repeated, the first is the default one (default: default)"),
    Flag.atLeast(0)
  ),
  account: Flag.String("account").pipe(
    Flag.withMetavar("id"),
    Flag.withDescription("The only account that is served (default: any; printed as local)"),
    Flag.optional
  ),
  token: Flag.Redacted("token").pipe(
    Flag.withDescription("Token that requests must carry (default: CF_AIG_TOKEN, which other processes cannot see)"),
    Flag.withFallbackConfig(Config.Redacted("CF_AIG_TOKEN")),
    Flag.optional
  ),
  allowHosts: Flag.String("allow-host").pipe(
    Flag.withMetavar("name"),
    Flag.withDescription(
      "Host name or address that clients may use, besides loopback and --host, such as host.docker.internal; may be repeated"
    ),
    Flag.atLeast(0)
  ),
  allowOrigins: Flag.String("allow-origin").pipe(
    Flag.withMetavar("origin"),
    Flag.withDescription(
      "Origin of a web page that may call, such as http://localhost:5173; may be repeated (default: no page)"
    ),
    Flag.atLeast(0)
  ),
  script: Flag.String("script").pipe(
    Flag.withMetavar("file.json"),
    Flag.withDescription('Scripted faults by provider: { "openai": [{ "status": 503 }] }'),
    Flag.optional
  ),
  upstreams: Flag.String("upstream").pipe(
    Flag.withMetavar("slug=url"),
    Flag.withDescription("Sends a provider's requests to a real server instead of the echo; may be repeated"),
    Flag.atLeast(0)
  ),
  routes: Flag.String("route").pipe(
    Flag.withMetavar("name=slug/model,…"),
    Flag.withDescription("Dynamic route: its models in order, for requests to dynamic/{name}; may be repeated"),
    Flag.atLeast(0)
  ),
  cacheTtl: Flag.Int("cache-ttl").pipe(
    Flag.withMetavar("seconds"),
    Flag.withDescription(
      "Seconds that every gateway caches answers: 60 to 2592000, or 0 to turn the cache off (default: 0)"
    ),
    Flag.optional
  ),
  rateLimit: Flag.String("rate-limit").pipe(
    Flag.withMetavar("requests/seconds"),
    Flag.withDescription(
      "Requests that every gateway accepts in a number of seconds, such as 100/60, or 100/60/sliding (default: no limit)"
    ),
    Flag.optional
  ),
  keep: Flag.String("keep").pipe(
    Flag.withMetavar("what=number"),
    Flag.withDescription(
      "Limit of what stays in memory: logs, calls (entries), logBytes, callBytes, cacheBytes, runBytes (bytes); may be " +
        "repeated (default: 10000 entries and 67108864 bytes each)"
    ),
    Flag.atLeast(0)
  ),
  inFlight: Flag.Int("in-flight").pipe(
    Flag.withMetavar("bytes"),
    Flag.withDescription("Bytes of all requests in flight, with their answers (default: 335544320)"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one line of JSON (url, port, env) instead of text when ready"),
    Flag.withDefault(false)
  )
}

/** Scripts by provider slug. */
type Scripts = ReadonlyMap<string, ReadonlyArray<Upstream.Fault>>

const scriptsAccepted = '{ "provider-slug": [fault, …], … }'
const decodeFile = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Record(Schema.String, Schema.Array(Schema.Unknown)))
)

const readScripts = Effect.fnUntraced(function* (path: string) {
  const fail = (what: string) => new CliFailure({ message: `--script ${path}: ${what}` })
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(fs.readFileString(path), () => fail("expected the path of a readable file"))
  const file = Option.getOrUndefined(decodeFile(text))
  if (file === undefined) return yield* fail(`expected JSON of the form ${scriptsAccepted}`)
  const scripts = new Map<string, ReadonlyArray<Upstream.Fault>>()
  for (const [slug, faults] of Object.entries(file)) {
    const decoded = Faults.decode(faults)
    if (Result.isFailure(decoded)) {
      const { accepted, field } = decoded.failure
      return yield* fail(`${field.replace(/^faults/, slug)}: expected ${accepted}`)
    }
    scripts.set(slug, decoded.success)
  }
  return scripts
})

const parseUpstreams = Effect.fnUntraced(function* (entries: ReadonlyArray<string>) {
  const urls = new Map<string, string>()
  for (const entry of entries) {
    const at = entry.indexOf("=")
    const [slug, url] = [entry.slice(0, at), entry.slice(at + 1)]
    if (at < 1 || url === "") return yield* new CliFailure({ message: "--upstream: expected slug=url" })
    if (urls.has(slug)) return yield* new CliFailure({ message: `--upstream ${slug}=…: expected each slug once` })
    urls.set(slug, url)
  }
  return urls
})

/** Reads `name=digits`; the gateway checks the names and the range of the numbers. */
const parseKeep = Effect.fnUntraced(function* (entries: ReadonlyArray<string>) {
  const keep = new Map<string, number>()
  for (const entry of entries) {
    const [, name, number] = /^(\w+)=(\d{1,15})$/.exec(entry) ?? []
    if (name === undefined) return yield* new CliFailure({ message: "--keep: expected what=number, from 0" })
    if (keep.has(name)) return yield* new CliFailure({ message: `--keep ${name}=…: expected each name once` })
    keep.set(name, Number(number))
  }
  return Object.fromEntries(keep)
})

/** Reads `name=slug/model,slug/model`; the gateway checks names and models. */
const parseRoutes = Effect.fnUntraced(function* (entries: ReadonlyArray<string>) {
  const routes = new Map<string, ReadonlyArray<string>>()
  for (const entry of entries) {
    const at = entry.indexOf("=")
    const [name, models] = [entry.slice(0, at), entry.slice(at + 1)]
    if (at < 1 || models === "") return yield* new CliFailure({ message: "--route: expected name=slug/model,…" })
    if (routes.has(name)) return yield* new CliFailure({ message: `--route ${name}=…: expected each name once` })
    routes.set(name, models.split(","))
  }
  return Object.fromEntries(routes)
})

/** Reads `requests/seconds`, optionally followed by a technique. */
const parseRateLimit = Effect.fnUntraced(function* (text: string | undefined) {
  if (text === undefined) return undefined
  const [, limit, seconds, technique = "fixed"] = /^(\d{1,15})\/(\d{1,15})(?:\/(fixed|sliding))?$/.exec(text) ?? []
  if (limit === undefined || (technique !== "fixed" && technique !== "sliding")) {
    return yield* new CliFailure({ message: "--rate-limit: expected requests/seconds, or requests/seconds/sliding" })
  }
  return { limit: Number(limit), intervalSeconds: Number(seconds), technique } as const
})

const upstreamsOf = (scripts: Scripts, urls: ReadonlyMap<string, string>): Record<string, Upstream.Upstream> =>
  Object.fromEntries(
    [...new Set([...scripts.keys(), ...urls.keys()])].map((slug) => {
      const [faults, baseUrl] = [scripts.get(slug), urls.get(slug)]
      const target = baseUrl === undefined ? Upstream.echo() : Upstream.proxy({ baseUrl })
      return [slug, faults === undefined ? target : Upstream.script(faults, target)]
    })
  )

/** The flag for a setting that all gateways share. */
const gatewayFlag = (name: string): string => {
  if (name.endsWith(".cacheTtl")) return "--cache-ttl"
  return /\.rateLimit\.\w+$/.test(name) ? "--rate-limit" : `--gateway ${name}`
}

/** Names the origin of a rejected option on the command line; the gateway itself checks its options. */
const toFailure =
  (script: string | undefined, urls: ReadonlyMap<string, string>) =>
  ({ message, reason }: GatewayError): CliFailure => {
    if (reason._tag !== "InvalidRequest" || reason.field === undefined) return new CliFailure({ message })
    const [option = "", name = ""] = reason.field.replace(/\[\d+\]$/, "").split(/\.(.*)/)
    const slug = name.replace(/\.baseUrl$/, "")
    const flags: Readonly<Record<string, string>> = {
      allowHosts: "--allow-host",
      allowOrigins: "--allow-origin",
      token: "--token or CF_AIG_TOKEN",
      gateways: gatewayFlag(name),
      routes: `--route ${name}=…`,
      keep: `--keep ${name}=…`,
      inFlightBytes: "--in-flight",
      upstreams: urls.has(slug) ? `--upstream ${slug}=…` : `--script ${script}: ${slug}`
    }
    return new CliFailure({ message: `${flags[option] ?? `--${option}`}: expected ${reason.accepted}` })
  }

/** Environment from which a program finds the gateway, without the token, which is never printed. */
const environment = (
  server: Local.Server,
  account: string,
  gateway: string,
  token: Redacted.Redacted<string> | undefined
): Record<string, string> => ({
  CLOUDFLARE_ACCOUNT_ID: account,
  AI_GATEWAY_ID: gateway,
  AI_GATEWAY_URL: server.url,
  CLOUDFLARE_API_URL: `${server.url}/client/v4`,
  ...(token === undefined ? { CLOUDFLARE_API_TOKEN: placeholderToken } : {})
})

const text = (
  server: Local.Server,
  gateways: ReadonlyArray<string>,
  env: Readonly<Record<string, string>>,
  hasToken: boolean
): string =>
  [
    `AI Gateway at ${server.url} (${gateways.join(", ")}); Ctrl-C stops it`,
    `Providers at ${server.gateway.url(undefined, "{provider}")}`,
    "",
    ...Object.entries(env).map(([name, value]) => `export ${name}=${value}`),
    ...(hasToken ? ["# and your token (not shown) as CF_AIG_TOKEN and CLOUDFLARE_API_TOKEN"] : [])
  ].join("\n")

/**
 * The command. It serves until it is interrupted, and then closes at once: requests in flight are interrupted. The
 * process exits with 130 after SIGINT or SIGTERM, and with 2 when a flag, the script file or the port is rejected.
 */
export const serve = Command.make(
  "serve",
  flags,
  Effect.fnUntraced(function* (given) {
    const written: Scripts = Option.isSome(given.script) ? yield* readScripts(given.script.value) : new Map()
    const { logs: logFaults, ...others } = Object.fromEntries(written)
    const scripts: Scripts = new Map(Object.entries(others))
    const urls = yield* parseUpstreams(given.upstreams)
    const keep = yield* parseKeep(given.keep)
    const routes = yield* parseRoutes(given.routes)
    const rateLimit = yield* parseRateLimit(Option.getOrUndefined(given.rateLimit))
    const settings = { cacheTtl: Option.getOrUndefined(given.cacheTtl), rateLimit }
    const gateways = given.gateways.length === 0 ? ["default"] : given.gateways
    const [gateway = "default"] = gateways
    if (new Set(gateways).size < gateways.length) {
      return yield* new CliFailure({ message: "--gateway: expected each id once" })
    }
    const token = Option.getOrUndefined(given.token)
    const account = Option.getOrUndefined(given.account)
    const server = yield* Local.serve({
      port: given.port,
      host: given.host,
      gateway,
      gateways: Object.fromEntries(gateways.map((id) => [id, settings])),
      routes,
      account,
      token,
      allowHosts: given.allowHosts,
      allowOrigins: given.allowOrigins,
      keep,
      inFlightBytes: Option.getOrUndefined(given.inFlight),
      upstreams: upstreamsOf(scripts, urls)
    }).pipe(Effect.mapError(toFailure(Option.getOrUndefined(given.script), urls)))
    if (logFaults !== undefined) yield* server.gateway.script("logs", logFaults)
    const env = environment(server, account ?? "local", gateway, token)
    yield* Console.log(
      given.json
        ? JSON.stringify({ url: server.url, port: server.port, env })
        : text(server, gateways, env, token !== undefined)
    )
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Runs the local gateway: the paths, headers and logs of AI Gateway without an account. Providers echo unless a " +
      "script or a real server stands in for them. Exits with 130 on Ctrl-C or SIGTERM, and with 2 when it " +
      "cannot start."
  ),
  Command.withShortDescription("Run the local gateway"),
  Command.withExamples(({ commandPath }) => [
    { command: `${commandPath.join(" ")} --port 0 --json`, description: "A free port, reported to the parent process" },
    {
      command: `${commandPath.join(" ")} --upstream openai=http://127.0.0.1:11434/v1`,
      description: "Ollama behind the slug openai"
    }
  ])
)

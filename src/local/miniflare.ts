/**
 * A Worker on this machine, with the genuine `env.AI` and the local gateway behind it: no network, no account, no bill.
 *
 * `wrangler dev` has no local substitute for the AI binding, which is always remote. Here Miniflare runs Cloudflare's
 * runtime with the binding inside it, and every call of that binding ends at a local gateway in this process, whose
 * providers can be scripted to fail.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Miniflare, type MiniflareOptions } from "miniflare"
import { type GatewayError, invalid } from "../GatewayError.ts"
import * as LocalGateway from "./LocalGateway.ts"
import { serve } from "./node.ts"
import { fetchAndReset } from "./upstream/resettingFetch.ts"

/**
 * A value of JSON.
 *
 * @category models
 */
export type Json = string | number | boolean | null | ReadonlyArray<Json> | { readonly [key: string]: Json }

/**
 * Options of {@link start}.
 *
 * @category models
 */
export interface Options {
  /** The Worker as one bundled ES module: its source text, not a path. */
  readonly script: string
  /** As in `wrangler.jsonc`: `YYYY-MM-DD`. */
  readonly compatibilityDate: string
  /** As in `wrangler.jsonc`. `effect-ai-gateway/worker` needs `enable_request_signal`. */
  readonly compatibilityFlags?: ReadonlyArray<string> | undefined
  /** Variables and secrets of `env`. */
  readonly vars?: Readonly<Record<string, Json>> | undefined
  /** Name of the AI binding in `env`. Default: `AI`. */
  readonly binding?: string | undefined
  /** The gateway behind the binding. Default: one gateway `default` that echoes. */
  readonly gateway?: LocalGateway.Options | undefined
  /** Port of the gateway on 127.0.0.1, 0 to 65535. Default: 0, a free one. */
  readonly gatewayPort?: number | undefined
  /** Port of the Worker on 127.0.0.1, 0 to 65535. Default: 0, a free one. */
  readonly port?: number | undefined
  /**
   * Path from the binding to the gateway. `direct`: the binding's requests as they are. `remote-proxy`: in the envelope
   * in which `wrangler dev` sends them to Cloudflare. Default: `direct`.
   */
  readonly wiring?: "direct" | "remote-proxy" | undefined
  /**
   * Further options of Miniflare, version 4: of the Worker (KV, D1, …), and those that all Workers share (persistence,
   * log, …).
   */
  readonly miniflare?:
    | {
        readonly worker?: Readonly<Record<string, unknown>> | undefined
        readonly shared?: Readonly<Record<string, unknown>> | undefined
      }
    | undefined
}

/**
 * The Worker did not start, or a request to it received no answer.
 *
 * @category errors
 */
export class WorkerFailure extends Data.TaggedError("WorkerFailure")<{
  readonly what: "start" | "fetch"
  readonly cause: unknown
}> {
  override get message(): string {
    const said = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `${this.what === "start" ? "the Worker did not start" : "no answer from the Worker"}: ${said}`
  }
}

/**
 * A running Worker.
 *
 * @category services
 */
export class LocalWorker extends Context.Service<
  LocalWorker,
  {
    /** `http://127.0.0.1:{port}` */
    readonly url: string
    /** The gateway behind `env.AI`: its scripts of faults, its calls, its reset. */
    readonly gateway: LocalGateway.LocalGateway
    /** URL of the gateway, for its logs API and for `/__admin`. */
    readonly gatewayUrl: string
    /**
     * Sends a request to the Worker; a path is enough. Interruption acts like a client that leaves: it resets the
     * connection, so that the Worker's request is aborted. Fails with `WorkerFailure` when there is no answer.
     */
    readonly fetch: (input: string | URL | Request, init?: RequestInit) => Effect.Effect<Response, WorkerFailure>
  }
>()("effect-ai-gateway/local/LocalWorker") {}

const method = "LocalWorker.start"
const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65535

const check = (options: Options): GatewayError | undefined => {
  const { binding = "AI", compatibilityDate, gatewayPort = 0, port = 0, script, vars = {} } = options
  if (script === "") return invalid(method, "script", "the text of a bundled ES module")
  if (!/^\d{4}-\d{2}-\d{2}$/.test(compatibilityDate)) return invalid(method, "compatibilityDate", "YYYY-MM-DD")
  if (!/^[A-Za-z_$][\w$]*$/.test(binding)) return invalid(method, "binding", "the name of a variable")
  if (binding in vars) return invalid(method, `vars.${binding}`, "another name than the binding's")
  if (!isPort(port)) return invalid(method, "port", "0 to 65535")
  if (!isPort(gatewayPort)) return invalid(method, "gatewayPort", "0 to 65535")
  return undefined
}

const shim = "effect-ai-gateway-binding"

/** Modules of wrapped bindings may import the runtime's internals: here the binding's own code. */
const shimScript = `import makeBinding from "cloudflare-internal:ai-api"
export default (env) => makeBinding({ fetcher: env.fetcher })`

/** Brand that Miniflare's types require for such a URL. */
const brand = "RemoteProxyConnectionString" as const

const configure = (options: Options, gatewayUrl: URL): MiniflareOptions => {
  const { binding = "AI", compatibilityDate, compatibilityFlags = [], miniflare, port = 0, script, vars } = options
  const isDirect = (options.wiring ?? "direct") === "direct"
  const worker = {
    name: "worker",
    modules: [{ type: "ESModule" as const, path: "worker.mjs", contents: script }],
    compatibilityDate,
    compatibilityFlags: [...compatibilityFlags],
    bindings: { ...vars },
    ...(isDirect
      ? { wrappedBindings: { [binding]: shim } }
      : { ai: { binding, remoteProxyConnectionString: Object.assign(gatewayUrl, { __brand: brand }) } }),
    ...miniflare?.worker
  }
  const wrapped = {
    name: shim,
    modules: [{ type: "ESModule" as const, path: "binding.mjs", contents: shimScript }],
    serviceBindings: { fetcher: { external: { address: gatewayUrl.host, http: {} } } }
  }
  // Without `cf: false` Miniflare requests its location from Cloudflare.
  return { host: "127.0.0.1", port, cf: false, ...miniflare?.shared, workers: isDirect ? [worker, wrapped] : [worker] }
}

/**
 * Starts a Worker and its gateway; both stop with the scope. Fails with `InvalidRequest` naming the invalid option, and
 * with `WorkerFailure` when the runtime rejects the Worker.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as LocalWorker from "effect-ai-gateway/local/miniflare"
 *
 * const script = `export default {
 *   async fetch(request, env) {
 *     const leg = { provider: "openai", endpoint: "chat/completions", headers: {}, query: await request.json() }
 *     return await env.AI.gateway("default").run(leg)
 *   }
 * }`
 *
 * const program = Effect.gen(function* () {
 *   const worker = yield* LocalWorker.start({ script, compatibilityDate: "2026-07-01" })
 *   yield* worker.gateway.script("openai", [{ status: 503 }])
 *   const body = JSON.stringify({ model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello" }] })
 *   const first = yield* worker.fetch("/", { method: "POST", body })
 *   const second = yield* worker.fetch("/", { method: "POST", body })
 *   return [first.status, second.status]
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program))) // [503, 200]
 * ```
 *
 * @category constructors
 */
export const start = Effect.fn("LocalWorker.start")(function* (
  options: Options
): Effect.fn.Return<LocalWorker["Service"], GatewayError | WorkerFailure, Scope.Scope> {
  const problem = check(options)
  if (problem !== undefined) return yield* problem
  const { gateway, url: gatewayUrl } = yield* serve({ ...options.gateway, port: options.gatewayPort ?? 0 })
  const failed = (what: WorkerFailure["what"]) => (cause: unknown) => new WorkerFailure({ what, cause })
  const runtime = yield* Effect.acquireRelease(
    Effect.try({ try: () => new Miniflare(configure(options, new URL(gatewayUrl))), catch: failed("start") }),
    // After a failed start there is nothing to stop, and Miniflare repeats the failure.
    (runtime) => Effect.ignore(Effect.tryPromise(() => runtime.dispose()))
  )
  const ready = yield* Effect.tryPromise({ try: () => runtime.ready, catch: failed("start") })
  const url = ready.origin
  return LocalWorker.of({
    url,
    gateway,
    gatewayUrl,
    fetch: (input, init) =>
      Effect.tryPromise({
        try: (signal) =>
          fetchAndReset(
            input instanceof Request ? new Request(input, init) : new Request(new URL(input, url), init),
            signal
          ),
        catch: failed("fetch")
      })
  })
})

/**
 * {@link start} as a layer, for a test suite: one Worker for a block of tests, with `gateway.reset` between them. Also
 * provides the gateway behind the binding as `LocalGateway.Current`.
 *
 * @example
 * ```ts
 * import * as LocalWorker from "effect-ai-gateway/local/miniflare"
 *
 * const script = "export default { fetch: () => new Response('hello') }"
 * export const TestWorker = LocalWorker.layer({ script, compatibilityDate: "2026-07-01" })
 * ```
 *
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<LocalWorker | LocalGateway.Current, GatewayError | WorkerFailure> =>
  Layer.effectContext(
    Effect.map(start(options), (worker) =>
      Context.add(Context.make(LocalWorker, worker), LocalGateway.Current, worker.gateway)
    )
  )

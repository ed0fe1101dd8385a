/** The released runtime in its own process: a Worker on a socket, with the genuine AI binding. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fetchAndReset } from "../../../src/local/upstream/resettingFetch.ts"

/** Destination of a binding's requests: a server, or a named entry point of the Worker itself. */
export type Service = { readonly url: string } | { readonly entrypoint: string }

/** Options of the runtime. */
export interface Options {
  /** Bundled ES module. */
  readonly code: string
  /** AI bindings: name in `env` to the service behind it. */
  readonly ai: Readonly<Record<string, Service>>
  /** Destination of its `fetch`, whatever the host. Default: public addresses only, of which there are none here. */
  readonly outbound?: string
  readonly vars?: Readonly<Record<string, string>>
  /** Default: with `enable_request_signal`. */
  readonly flags?: ReadonlyArray<string>
  /** Starts the inspector on a free port too. */
  readonly inspector?: boolean
}

/** A running runtime. */
export interface Workerd {
  readonly url: string
  readonly pid: number
  /** `host:port` of the inspector, when asked for. */
  readonly inspector: string | undefined
  /** Output of the Worker and the runtime so far. */
  readonly output: () => string
  /** Sends a request over its own connection; interruption resets the connection. */
  readonly fetch: (path: string, init?: RequestInit) => Effect.Effect<Response>
  /** {@link fetch} of JSON, by POST. Dies when the status is not 2xx. */
  readonly call: (path: string, body: unknown) => Effect.Effect<unknown>
}

/** Path of Miniflare's binary. */
export const binary = (): string => {
  const fromMiniflare = createRequire(createRequire(import.meta.url).resolve("miniflare"))
  const found: unknown = fromMiniflare("workerd")
  if (typeof found === "object" && found !== null && "default" in found && typeof found.default === "string") {
    return found.default
  }
  throw new Error("workerd is not installed")
}

const text = (value: string): string => JSON.stringify(value)

const externalOf = (name: string, url: string): string =>
  `(name = ${text(name)}, external = (address = ${text(new URL(url).host)}, http = ()))`

const configOf = ({ ai, flags = ["enable_request_signal"], outbound, vars = {} }: Options): string => {
  const external = Object.entries(ai).flatMap(([name, service]) =>
    "url" in service ? [externalOf(`to-${name}`, service.url)] : []
  )
  if (outbound !== undefined) external.push(externalOf("outbound", outbound))
  const designator = (name: string, service: Service): string =>
    "url" in service ? text(`to-${name}`) : `(name = "main", entrypoint = ${text(service.entrypoint)})`
  const bindings = [
    ...Object.entries(ai).map(
      ([name, service]) =>
        `(name = ${text(name)}, wrapped = (moduleName = "cloudflare-internal:ai-api", innerBindings = [(name = "fetcher", service = ${designator(name, service)})]))`
    ),
    ...Object.entries(vars).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`)
  ]
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .main), ${external.join(", ")} ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ]
);
const main :Workerd.Worker = (
  modules = [ (name = "worker.mjs", esModule = embed "worker.mjs") ],
  compatibilityDate = "2026-07-01",
  compatibilityFlags = [ ${flags.map(text).join(", ")} ],
  ${outbound === undefined ? "" : `globalOutbound = "outbound",`}
  bindings = [ ${bindings.join(",\n")} ]
);
`
}

interface Listening {
  readonly http: number
  readonly inspector: number | undefined
}

const running = new Set<ChildProcess>()
// A test run that is cut short ends no scopes.
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** Starts the runtime; it is killed when the scope ends. */
export const start = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Workerd, never, Scope.Scope> {
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "effect-ai-gateway-workerd-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
  )
  yield* Effect.promise(() => writeFile(join(folder, "worker.mjs"), options.code))
  yield* Effect.promise(() => writeFile(join(folder, "config.capnp"), configOf(options)))
  let output = ""
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const inspect = options.inspector === true ? ["--inspector-addr=127.0.0.1:0"] : []
      const experimental = options.flags?.includes("experimental") === true ? ["--experimental"] : []
      const args = ["serve", join(folder, "config.capnp"), "--control-fd=3", ...inspect, ...experimental]
      const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe", "pipe"] })
      running.add(child)
      const collect = (chunk: Buffer): void => {
        output += chunk.toString()
      }
      child.stdout?.on("data", collect)
      child.stderr?.on("data", collect)
      return child
    }),
    (child) =>
      Effect.callback<void>((resume) => {
        // A graceful stop would wait for requests that hang.
        running.delete(child)
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const ports = yield* Effect.callback<Listening>((resume) => {
    const seen = new Map<string, number>()
    let pending = ""
    child.stdio[3]?.on("data", (chunk: Buffer) => {
      pending += chunk.toString()
      for (;;) {
        const end = pending.indexOf("\n")
        if (end < 0) return
        const event: { readonly event: string; readonly socket?: string; readonly port?: number } = JSON.parse(
          pending.slice(0, end)
        )
        pending = pending.slice(end + 1)
        if (event.port !== undefined) seen.set(event.socket ?? event.event, event.port)
        const http = seen.get("http")
        const inspector = seen.get("listen-inspector")
        if (http !== undefined && (options.inspector !== true || inspector !== undefined)) {
          resume(Effect.succeed({ http, inspector }))
        }
      }
    })
    child.once("exit", () => resume(Effect.die(new Error(`workerd ended: ${output}`))))
  })
  const url = `http://127.0.0.1:${ports.http}`
  const fetch: Workerd["fetch"] = (path, init) =>
    Effect.promise((signal) => fetchAndReset(new Request(new URL(path, url), init), signal))
  return {
    url,
    pid: child.pid ?? 0,
    inspector: ports.inspector === undefined ? undefined : `127.0.0.1:${ports.inspector}`,
    output: () => output,
    fetch,
    call: (path, body) =>
      Effect.flatMap(
        fetch(path, { method: "POST", body: JSON.stringify(body) }),
        Effect.fnUntraced(function* (response) {
          const answer = yield* Effect.promise(() => response.text())
          if (!response.ok) return yield* Effect.die(new Error(`${path}: ${response.status} ${answer}\n${output}`))
          return JSON.parse(answer) as unknown
        })
      )
  }
})

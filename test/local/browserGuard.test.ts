/**
 * Checks which callers the gateway answers, over raw sockets: a browser's headers in every combination, on every
 * surface.
 */
import * as Http from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { type ServeOptions, serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { call, leg } from "./support.ts"

interface Answered {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
}

/** Sends exactly these headers, including `Host`. */
const send = (port: number, method: string, path: string, headers: Record<string, string>, body?: string) =>
  Effect.callback<Answered>((resume) => {
    const request = Http.request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk) => {
        text += chunk
      })
      response.on("end", () =>
        resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, text }))
      )
    })
    request.on("error", (error) => resume(Effect.die(error)))
    request.end(body)
  })

const faults = JSON.stringify([{ status: 200, body: "<script>alert(1)</script>" }])
const universal = JSON.stringify([{ ...leg("openai"), headers: { "cf-aig-local-faults": faults } }])
const run = JSON.stringify({ inputs: { messages: [{ role: "user", content: "Hi" }] }, options: {} })
const model = { "cf-consn-model-id": "@cf/meta/llama-3.1-8b-instruct" }

/** One request per surface; each is answered with 200 when a client other than a browser sends it. */
const surfaces: ReadonlyArray<readonly [string, string, string, string?, Record<string, string>?]> = [
  ["universal", "POST", "/v1/local/default", universal],
  ["universal with the API's prefix", "POST", "/client/v4/v1/local/default", universal],
  ["provider-native", "POST", "/v1/local/default/openai/chat/completions", JSON.stringify(leg("openai").query)],
  ["provider-native by GET", "GET", "/v1/local/default/openai/models"],
  ["REST run", "POST", "/accounts/local/ai/run/@cf/meta/llama-3.1-8b-instruct", '{"prompt":"Hi"}'],
  ["logs", "GET", "/accounts/local/ai-gateway/gateways/default/logs"],
  ["binding: run", "POST", "/run", run, model],
  ["binding: universal", "POST", "/ai-gateway/universal/run/default", universal],
  ["binding: models", "GET", "/ai-api/models/search"],
  ["envelope", "POST", "/", universal, { "mf-url": "https://workers-binding.ai/ai-gateway/universal/run/default" }],
  ["admin: calls", "GET", "/__admin/calls"],
  ["admin: reset", "POST", "/__admin/reset"]
]

/** Headers that only a browser adds. */
const pages: ReadonlyArray<readonly [string, (port: number) => Record<string, string>]> = [
  ["the origin of another site", () => ({ origin: "https://evil.example" })],
  ["the origin of another port", (port) => ({ origin: `http://127.0.0.1:${port + 1}` })],
  ["an origin that only starts like ours", (port) => ({ origin: `http://127.0.0.1:${port}.evil.example` })],
  ["an origin that only ends like ours", (port) => ({ origin: `http://evil.example//127.0.0.1:${port}` })],
  [
    "our own name on another port",
    (port) => ({ origin: "http://localhost", "sec-fetch-site": "same-site", host: `localhost:${port}` })
  ],
  ["the opaque origin", () => ({ origin: "null" })],
  ["a navigation from another site", () => ({ "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" })],
  ["an image of another site", () => ({ "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" })],
  ["a page of the same site", () => ({ "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" })],
  ["an unknown value", () => ({ "sec-fetch-site": "none, cross-site" })],
  ["a name that points here", (port) => ({ host: `evil.example:${port}` })],
  ["a name that starts like loopback", () => ({ host: "127.0.0.1.evil.example" })],
  ["a name that starts like localhost", () => ({ host: "localhost.evil.example" })],
  ["a host with a user name", () => ({ host: "localhost@evil.example" })],
  ["another address", () => ({ host: "192.168.1.7" })],
  [
    "a name of the attacker as origin and host",
    () => ({ host: "evil.example", origin: "http://evil.example", "sec-fetch-site": "same-origin" })
  ]
]

const setting = { routes: { r: ["openai/m"] } }

describe("callers", () => {
  it.live.each(surfaces)("answers a client that is not a browser: %s", ([, method, path, body, extra]) =>
    Effect.gen(function* () {
      const { port } = yield* serve({ ...setting, port: 0 })
      assert.strictEqual((yield* send(port, method, path, { host: `127.0.0.1:${port}`, ...extra }, body)).status, 200)
    })
  )

  it.live.each(pages)("rejects %s on every surface before anything happens", ([, headersOf]) =>
    Effect.gen(function* () {
      for (const token of [undefined, Redacted.make("secret")]) {
        const { gateway, port } = yield* serve({ ...setting, port: 0, token })
        yield* gateway.script("openai", [{ status: 418 }])
        for (const [name, method, path, body, extra] of surfaces) {
          const credentials = { authorization: "Bearer secret", "cf-aig-authorization": "Bearer secret" }
          const headers = { host: `127.0.0.1:${port}`, ...credentials, ...extra, ...headersOf(port) }
          const reply = yield* send(port, method, path, headers, body)
          assert.strictEqual(reply.status, 403, name)
          assert.match(JSON.parse(reply.text).errors[0].message, /^(Host|Origin|Sec-Fetch-Site): expected /)
          assert.strictEqual(reply.headers["access-control-allow-origin"], undefined)
        }
        assert.deepStrictEqual(yield* gateway.calls, [])
      }
    })
  )

  it.live("may use every name of this machine, and listed names", () =>
    Effect.gen(function* () {
      const allowHosts = ["host.docker.internal", "Gateway.Test", "10.0.0.5", "fd00::1"]
      const { port } = yield* serve({ port: 0, allowHosts, baseUrl: "https://public.example/ai" })
      const status = (host: string) =>
        Effect.map(send(port, "GET", "/ai-api/models/search", { host }), (reply) => reply.status)
      for (const host of [
        ...[
          "localhost",
          "LOCALHOST:1",
          "127.0.0.1",
          "127.8.9.1:80",
          "[::1]",
          "[0:0:0:0:0:0:0:1]:8080",
          "workers-binding.ai"
        ],
        ...["host.docker.internal:8790", "gateway.test", "10.0.0.5:1", "[fd00::1]:1", "public.example"]
      ]) {
        assert.strictEqual(yield* status(host), 200, host)
      }
      for (const host of [
        "host.docker.internal.evil.example",
        "test",
        "10.0.0.6",
        "[::2]",
        "example",
        "x y",
        "a,localhost"
      ]) {
        assert.strictEqual(yield* status(host), 403, host)
      }
    })
  )

  it.live("with an absolute request target use its host", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ port: 0 })
      const status = (target: string) =>
        Effect.map(send(port, "GET", target, { host: "localhost" }), (reply) => reply.status)
      assert.strictEqual(yield* status("http://evil.example/ai-api/models/search"), 403)
      assert.strictEqual(yield* status(`http://localhost:${port}/ai-api/models/search`), 200)
    })
  )

  it.live("may use the listening address as the host", () =>
    Effect.gen(function* () {
      const options = { port: 0, host: "127.0.0.2", token: Redacted.make("secret") }
      const server = yield* serve(options)
      const reply = yield* Effect.promise(() => fetch(`${server.url}/ai-api/models/search`))
      // The guard accepts the host; then the token is missing.
      assert.strictEqual(reply.status, 401)
    })
  )

  it.effect("in this process are checked too", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ allowOrigins: ["http://localhost:5173"] })
      const status = (headers: Record<string, string>) =>
        Effect.map(
          call(gateway, "GET", "http://anything.test/ai-api/models/search", undefined, headers),
          (r) => r.status
        )
      assert.strictEqual(yield* status({}), 200)
      assert.strictEqual(yield* status({ host: "evil.example" }), 403)
      assert.strictEqual(yield* status({ origin: "https://evil.example" }), 403)
      assert.strictEqual(yield* status({ origin: "http://localhost:5173", "sec-fetch-site": "cross-site" }), 200)
      assert.strictEqual(yield* status({ "sec-fetch-site": "cross-site" }), 403)
    })
  )

  it.effect.each<readonly [string, LocalGateway.Options]>([
    ...["", "http://a", "a/b", "a b", "*.example", "a@b", "a:1:2", "exa_mple.com:x"].map(
      (host) => ["allowHosts[1]", { allowHosts: ["localhost", host] }] as const
    ),
    ...[
      "*",
      "null",
      "localhost:5173",
      "http://a/",
      "http://A",
      "http://a:80",
      "http://",
      "http://*.a",
      " http://a"
    ].map((origin) => ["allowOrigins[0]", { allowOrigins: [origin] }] as const)
  ])("rejects the option %s in %j", ([field, options]) =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(LocalGateway.make(options))
      assert.strictEqual(reason._tag === "InvalidRequest" ? reason.field : undefined, field)
    })
  )
})

describe("the host of the Workers binding", () => {
  it.live("reaches the binding's paths, and nothing else", () =>
    Effect.gen(function* () {
      const { gateway, port } = yield* serve({ ...setting, port: 0 })
      const host = `workers-binding.ai:${port}`
      for (const [name, method, path, body, extra] of surfaces) {
        const isBinding = name.startsWith("binding") || name === "envelope"
        const reply = yield* send(port, method, path, { host, ...extra }, body)
        assert.strictEqual(reply.status, isBinding ? 200 : 404, name)
      }
      const inside = { host, "mf-url": "http://x/v1/local/default/openai/models" }
      assert.strictEqual((yield* send(port, "GET", "/", inside)).status, 404)
      const before = (yield* gateway.calls).length
      for (const page of [
        { origin: `http://${host}` },
        { "sec-fetch-site": "same-origin" },
        { "sec-fetch-site": "none" }
      ]) {
        const reply = yield* send(port, "POST", "/run", { host, ...model, ...page }, run)
        assert.strictEqual(reply.status, 403)
      }
      assert.strictEqual((yield* gateway.calls).length, before)
    })
  )
})

describe("__admin", () => {
  it.live("is closed to the envelope, for every spelling of its address", () =>
    Effect.gen(function* () {
      const { gateway, port } = yield* serve({ port: 0 })
      const script = JSON.stringify({ provider: "openai", faults: [{ status: 418, repeat: "forever" }] })
      for (const address of [
        "http://x/__admin/script",
        "http://x/client/v4/__admin/script",
        "http://x/a/../__admin/script"
      ]) {
        const headers = { host: "localhost", "mf-url": address }
        assert.strictEqual((yield* send(port, "POST", "/", headers, script)).status, 404, address)
      }
      const reply = yield* call(gateway, "POST", gateway.url(), [leg("openai")])
      assert.strictEqual(reply.status, 200)
    })
  )

  it.live("is closed to every page, including its own origin and listed ones", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serve({ port: 0, allowOrigins: ["http://localhost:5173"] })
      const status = (headers: Record<string, string>) =>
        Effect.map(send(port, "GET", "/__admin/calls", { host: `127.0.0.1:${port}`, ...headers }), (r) => r.status)
      assert.strictEqual(yield* status({ origin: url }), 403)
      assert.strictEqual(yield* status({ "sec-fetch-site": "same-origin" }), 403)
      assert.strictEqual(yield* status({ origin: "http://localhost:5173", "sec-fetch-site": "same-site" }), 403)
      assert.strictEqual(yield* status({ "sec-fetch-site": "none" }), 200)
      assert.strictEqual(yield* status({}), 200)
    })
  )
})

describe("answers", () => {
  it.live("are never a document of the gateway's origin", () =>
    Effect.gen(function* () {
      const html = { status: 200, headers: { "content-type": "text/html" }, body: "<script>1</script>" }
      const upstream = Upstream.make(() => Effect.succeed(html))
      const { port } = yield* serve({ ...setting, port: 0, upstreams: { openai: upstream } })
      const sealed = (reply: Answered, what: string) => {
        assert.strictEqual(reply.headers["x-content-type-options"], "nosniff", what)
        assert.match(String(reply.headers["content-security-policy"]), /^sandbox;/, what)
        assert.strictEqual(reply.headers["cross-origin-resource-policy"], "same-origin", what)
      }
      for (const [name, method, path, body, extra] of surfaces) {
        sealed(yield* send(port, method, path, { host: "localhost", ...extra }, body), name)
      }
      sealed(yield* send(port, "GET", "/", { host: "localhost" }), "no route")
      sealed(yield* send(port, "GET", "*", { host: "localhost" }), "malformed")
      sealed(yield* send(port, "GET", "/", { host: "evil.example" }), "rejected")
    })
  )

  it.live("from an upstream cannot open themselves to pages", () =>
    Effect.gen(function* () {
      const headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-credentials": "true",
        "content-security-policy": "script-src *",
        refresh: "0; url=http://evil.example",
        "x-kept": "yes"
      }
      const { gateway, port } = yield* serve({ port: 0 })
      yield* gateway.script("openai", [{ status: 200, headers, body: "x" }])
      const reply = yield* send(port, "GET", "/v1/local/default/openai/models", { host: "localhost" })
      assert.strictEqual(reply.headers["x-kept"], "yes")
      assert.match(String(reply.headers["content-security-policy"]), /^sandbox;[^,]*$/)
      for (const name of ["access-control-allow-origin", "access-control-allow-credentials", "refresh"]) {
        assert.strictEqual(reply.headers[name], undefined, name)
      }
    })
  )

  it.effect("from the log have a safe content type, not the one that the caller sent", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      for (const [sent, shown] of [
        ["text/html", "text/plain; charset=utf-8"],
        ["image/svg+xml", "text/plain; charset=utf-8"],
        ["application/json; charset=utf-8", "application/json"],
        ["application/jsonp", "text/plain; charset=utf-8"]
      ] as const) {
        const headers = { "content-type": sent }
        const answer = yield* call(
          gateway,
          "POST",
          `${gateway.url("default", "openai")}/x`,
          "<script>1</script>",
          headers
        )
        const id = answer.headers["cf-aig-log-id"]
        const log = `http://x/accounts/local/ai-gateway/gateways/default/logs/${id}/request`
        assert.strictEqual((yield* call(gateway, "GET", log)).headers["content-type"], shown, sent)
      }
    })
  )
})

describe("CORS", () => {
  const page = "http://localhost:5173"
  const asks = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,cf-aig-metadata"
  }
  const path = "/v1/local/default/openai/chat/completions"
  const served = (options: Partial<ServeOptions>) =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0, ...options })
      yield* server.gateway.script("openai", [{ status: 418 }])
      return server
    })

  it.live("answers a preflight without a call, a used fault or a log entry", () =>
    Effect.gen(function* () {
      for (const allowOrigins of [[], [page]]) {
        const { gateway, port } = yield* served({ allowOrigins })
        const isListed = allowOrigins.length > 0
        const allowed = { host: "localhost", origin: page, "sec-fetch-site": "same-site", ...asks }
        for (const [, , path] of surfaces) {
          const reply = yield* send(port, "OPTIONS", path, allowed)
          assert.strictEqual(reply.status, isListed ? 204 : 403)
          assert.strictEqual(reply.headers["access-control-allow-origin"], isListed ? page : undefined)
          assert.strictEqual(
            reply.headers["access-control-allow-headers"],
            isListed ? asks["access-control-request-headers"] : undefined
          )
        }
        // A client that is not a page needs no preflight.
        assert.strictEqual((yield* send(port, "OPTIONS", path, { host: "localhost", ...asks })).status, 204)
        assert.deepStrictEqual(yield* gateway.calls, [])
        const logs = yield* send(port, "GET", "/accounts/local/ai-gateway/gateways/default/logs", { host: "localhost" })
        assert.deepStrictEqual(JSON.parse(logs.text).result, [])
        assert.strictEqual((yield* send(port, "POST", path, { host: "localhost" }, "{}")).status, 418)
      }
    })
  )

  it.live("exposes every header of an answer to a listed page, even of a rejection", () =>
    Effect.gen(function* () {
      const { port } = yield* served({ allowOrigins: [page] })
      const first = yield* send(port, "POST", path, { host: "localhost", origin: page }, "{}")
      assert.strictEqual(first.headers["access-control-allow-origin"], page)
      assert.strictEqual(first.headers.vary, "Origin")
      const exposed = String(first.headers["access-control-expose-headers"]).split(", ")
      for (const name of ["cf-aig-log-id", "cf-aig-event-id", "cf-aig-step"]) assert.include(exposed, name)
      const refused = yield* send(port, "POST", "/v1/local/none/openai/x", { host: "localhost", origin: page }, "{}")
      assert.strictEqual(refused.status, 400)
      assert.strictEqual(refused.headers["access-control-allow-origin"], page)
    })
  )
})

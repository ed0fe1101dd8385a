/**
 * The page of `npm run demo -- --chaos`.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { Simulation } from "effect-ai-gateway/testing"
import { page } from "../../docs/examples/demo-chaos-page.ts"
import * as Chromium from "../support/chromium.ts"

const openai = Provider.openai.chat("m")

const written = Effect.map(
  Simulation.compare({
    duration: "20 seconds",
    arrivals: { perSecond: 10 },
    routes: { plain: openai, guarded: Route.circuitBreaker(openai, { window: "5 seconds", openFor: "2 seconds" }) },
    input: "hi",
    targets: { openai: { latency: 100 } },
    outages: [{ target: "openai", from: "5 seconds", until: "10 seconds" }],
    bucket: "1 second"
  }),
  (results) =>
    page({ duration: 20_000, bucket: 1_000, troubles: [{ name: "a <b> out", from: 5_000, until: 10_000 }], results })
)

describe("the page of the chaos demo", () => {
  it.effect("is self-contained, and shows the phases of breakers", () =>
    Effect.gen(function* () {
      const text = yield* written
      assert.notMatch(text, /<script|<link|\bsrc=|https?:/)
      assert.include(text, "prefers-color-scheme: dark")
      assert.include(text, "a &lt;b&gt; out")
      assert.include(text, "openai, 7.0 s: open")
      assert.strictEqual(text, yield* written)
    })
  )

  it.live.skipIf(Chromium.missing !== undefined)("is drawn by a browser without complaints or requests", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "chaos-page-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const file = join(folder, "page.html")
      writeFileSync(file, yield* written)
      const browser = yield* Chromium.start([])
      const seen = yield* Effect.promise(async () => {
        const tab = await browser.newPage({ colorScheme: "dark", viewport: { width: 900, height: 700 } })
        const complaints: Array<string> = []
        tab.on("console", (message) => complaints.push(message.text()))
        tab.on("request", (request) => {
          if (!request.url().startsWith("file:")) complaints.push(request.url())
        })
        await tab.goto(`file://${file}`)
        const charts = await tab.locator("figure svg[role=img]").count()
        const wide = await tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return { complaints, charts, wide }
      })
      assert.deepStrictEqual(seen, { complaints: [], charts: 6, wide: false })
    })
  )
})

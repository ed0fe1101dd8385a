/**
 * Streams that an RPC method returns, in workerd: a caller that cancels one ends everything behind it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const { code } = await bundle(new URL("workers/rpc.ts", import.meta.url), {
  plugins: [
    {
      name: "platform",
      setup: (build) => build.onResolve({ filter: /^cloudflare:/ }, ({ path }) => ({ path, external: true }))
    }
  ]
})

/** Polls until a value fits, as long as the test may take. */
const eventually = <A>(self: Effect.Effect<A>, is: (value: A) => boolean): Effect.Effect<A> =>
  Effect.flatMap(self, (value) =>
    is(value)
      ? Effect.succeed(value)
      : Effect.andThen(
          Effect.sleep(5),
          Effect.suspend(() => eventually(self, is))
        )
  )

const setting = Effect.gen(function* () {
  const { gateway, url } = yield* Effect.orDie(
    serve({ port: 0, gateway: "gw", upstreams: { groq: Upstream.echo({ stream: { events: 1_000_000, delay: 5 } }) } })
  )
  const worker = yield* Workerd.start({ code, ai: { AI: { url } } })
  const get = (path: string) => Effect.flatMap(worker.fetch(path), (response) => Effect.promise(() => response.text()))
  const prompts = Effect.map(gateway.calls, (calls) =>
    calls.map(
      ({ body }) => (body as { readonly messages: ReadonlyArray<{ readonly content: string }> }).messages[0]?.content
    )
  )
  return { get, prompts, openBodies: gateway.openBodies }
})

describe("a stream that Worker.run returned over RPC", () => {
  for (const method of ["response", "body"]) {
    it.live(`${method}: ends the run with onEnd when its caller cancels`, () =>
      Effect.gen(function* () {
        const { get, openBodies, prompts } = yield* setting
        assert.include(yield* get(`/${method}?name=A&cancel`), '"text":"groq/m:"')
        yield* eventually(prompts, (all) => all.includes("A left"))
        yield* eventually(openBodies, (count) => count === 0)
      })
    )
  }

  it.live("returns its permit when its caller cancels, and when its caller ends silently", () =>
    Effect.gen(function* () {
      const { get, prompts } = yield* setting
      for (const [name, query] of [
        ["B", "&cancel"],
        ["C", ""]
      ] as const) {
        assert.include(yield* get(`/permit?name=${name}${query}`), "tick")
        yield* eventually(prompts, (all) => all.includes(`${name} ended`))
        yield* eventually(get("/free"), (tag) => tag === '"Some"')
      }
    })
  )
})

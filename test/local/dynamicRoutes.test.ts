/** Dynamic routes by their elements: the output of `Route.compile`, and percentages. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import type { Fault } from "../../src/local/Upstream.ts"

const to = (elementId: string) => ({ elementId })
const end = { id: "end", type: "end", outputs: {} }
const start = (next: string) => ({ id: "start", type: "start", outputs: { next: to(next) } })

const model = (
  id: string,
  name: string,
  fallback = "end",
  properties: { readonly timeout?: number; readonly retries?: number } = {}
): LocalGateway.RouteElement => ({
  id,
  type: "model",
  properties: {
    provider: name.slice(0, name.indexOf("/")),
    model: name.slice(name.indexOf("/") + 1),
    timeout: 30_000,
    retries: 0,
    ...properties
  },
  outputs: { success: to("end"), fallback: to(fallback) }
})

/** Result of a route against scripted providers: the text of the answer or the reason, and the providers called. */
const outcome = (
  route: Provider.ChatRoute,
  options: LocalGateway.Options,
  faults: Readonly<Record<string, ReadonlyArray<Fault>>>
) => Effect.provide(outcomeOf(route, faults), at(options))

/** A router over a local gateway, with that gateway. */
const at = (options: LocalGateway.Options) =>
  Router.layer.pipe(Layer.provideMerge(Layer.orDie(LocalGateway.layer(options))))

const outcomeOf = Effect.fnUntraced(function* (
  route: Provider.ChatRoute,
  faults: Readonly<Record<string, ReadonlyArray<Fault>>>
) {
  const gateway = yield* LocalGateway.Current
  for (const [provider, script] of Object.entries(faults)) yield* gateway.script(provider, script)
  const asking = Router.run(route, "Hi", { execution: "client", quiet: true, budget: "none" })
  const fiber = yield* Effect.forkChild(Effect.exit(asking), { startImmediately: true })
  for (let at = 0; fiber.pollUnsafe() === undefined && at < 200_000; at += 1000) yield* TestClock.adjust(1000)
  const exit = yield* Fiber.join(fiber)
  const calls = yield* gateway.calls
  return {
    answer: Exit.isSuccess(exit)
      ? exit.value.value.text
      : Option.getOrUndefined(Exit.findErrorOption(exit))?.reason._tag,
    asked: calls.map(({ model, provider }) => `${provider}/${model}`)
  }
})

const names = ["openai/gpt", "groq/llama", "mistral/small"] as const
const chats = [Provider.openai.chat("gpt"), Provider.groq.chat("llama"), Provider.mistral.chat("small")] as const

const compiled = Result.getOrThrow(
  Route.compile(Route.fallback(...chats).pipe(Route.timeout("2 seconds")), "Hi", "dynamic")
)

describe("a compiled fallback", () => {
  const kinds: ReadonlyArray<Fault> = [
    { ok: true },
    { status: 503 },
    { status: 429 },
    { status: 400 },
    { reset: true },
    { ok: true, delay: 5000 },
    { status: 401 }
  ]

  it.effect("gives the client's answers, and calls the same targets", () =>
    Effect.gen(function* () {
      const route = Route.fallback(...chats).pipe(Route.timeout("2 seconds"))
      for (const first of kinds) {
        for (const second of kinds) {
          const faults = { openai: [first], groq: [second], mistral: [{ ok: true }] as const }
          const byClient = yield* outcome(route, {}, faults)
          const byRoute = yield* outcome(Provider.dynamic("r"), { routes: { r: compiled.elements } }, faults)
          assert.deepStrictEqual(byRoute, byClient, JSON.stringify(faults))
        }
      }
    })
  )

  it.effect("names the model that answered and its step", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.Current
      for (const execution of ["client", "gateway"] as const) {
        yield* gateway.script("openai", [{ status: 503 }])
        const { provider, value } = yield* Router.run(Provider.dynamic("r"), "Hi", { execution })
        assert.deepStrictEqual([provider, value.text], ["groq", "groq/llama: Hi"])
      }
    }).pipe(Effect.provide(at({ routes: { r: compiled.elements } })))
  )
})

describe("a compiled balance by weight", () => {
  const [openai, groq] = chats
  const weighed = Route.balance([openai, groq], { by: "weight", weights: [2, 1] }).pipe(Route.timeout("2 seconds"))
  const { elements } = Result.getOrThrow(Route.compile(weighed, "Hi", "dynamic"))

  it.effect("gives the client's answers in the order of its draw, and calls the same targets", () =>
    Effect.gen(function* () {
      const seen = new Set<string>()
      const kinds: ReadonlyArray<Fault> = [{ ok: true }, { status: 503 }, { status: 400 }]
      for (const first of kinds) {
        for (const second of kinds) {
          const faults = { openai: [first], groq: [second] }
          for (let seed = 0; seed < 2; seed++) {
            const ask = (route: Provider.ChatRoute, options: LocalGateway.Options) =>
              Random.withSeed(outcome(route, options, faults), `${seed} ${JSON.stringify(faults)}`)
            const byRoute = yield* ask(Provider.dynamic("r"), { routes: { r: elements } })
            seen.add(byRoute.asked[0] ?? "")
            // The client draws for itself: repeat until both begin with the same target.
            let byClient = yield* ask(weighed, {})
            for (let draw = 0; byClient.asked[0] !== byRoute.asked[0] && draw < 100; draw++) {
              byClient = yield* Random.withSeed(outcome(weighed, {}, faults), `draw ${draw}`)
            }
            assert.deepStrictEqual(byRoute, byClient, JSON.stringify(faults))
          }
        }
      }
      assert.deepStrictEqual([...seen].sort(), [names[1], names[0]].sort())
    })
  )

  it.effect("draws the first by weights, equal ones included", () =>
    Effect.gen(function* () {
      const even = Route.timeout(Route.balance(chats, { by: "weight" }), "2 seconds")
      const routes = {
        two: elements,
        three: Result.getOrThrow(Route.compile(even, "Hi", "dynamic", { allow: ["balance"] })).elements
      }
      const count = 300
      for (const [name, shares] of [
        ["two", [2 / 3, 1 / 3, 0]],
        ["three", [1 / 3, 1 / 3, 1 / 3]]
      ] as const) {
        const counts = yield* Effect.gen(function* () {
          yield* Effect.repeat(Router.run(Provider.dynamic(name), "Hi", { execution: "client" }), { times: count - 1 })
          const calls = yield* (yield* LocalGateway.Current).calls
          return ["openai", "groq", "mistral"].map((slug) => calls.filter(({ provider }) => provider === slug).length)
        }).pipe(Effect.provide(at({ routes })))
        counts.forEach((found, i) => {
          const share = shares[i] ?? 0
          assert.isAtMost(Math.abs(found - count * share), 4 * Math.sqrt(count * share * (1 - share)), `${counts}`)
        })
      }
    }).pipe(Random.withSeed("shares"))
  )
})

describe("elements", () => {
  it.effect("repeat a model at once, as often as configured", () =>
    Effect.gen(function* () {
      const r = [start("a"), model("a", "openai/gpt", "b", { retries: 2 }), model("b", "groq/llama"), end]
      const always = [{ status: 503, repeat: "forever" }] as const
      const { asked } = yield* outcome(Provider.dynamic("r"), { routes: { r } }, { openai: always })
      assert.deepStrictEqual(asked, ["openai/gpt", "openai/gpt", "openai/gpt", "groq/llama"])
    })
  )

  it.effect("give up a model after its own timeout", () =>
    Effect.gen(function* () {
      const r = [start("a"), model("a", "openai/gpt", "b", { timeout: 1000 }), model("b", "groq/llama"), end]
      const slow = [{ ok: true, delay: 20_000 }] as const
      const { answer } = yield* outcome(Provider.dynamic("r"), { routes: { r } }, { openai: slow })
      assert.strictEqual(answer, "groq/llama: Hi")
    })
  )
})

describe("a percentage", () => {
  const split = (outputs: Readonly<Record<string, string>>): ReadonlyArray<LocalGateway.RouteElement> => [
    start("split"),
    {
      id: "split",
      type: "percentage",
      outputs: Object.fromEntries(Object.entries(outputs).map(([name, id]) => [name, to(id)]))
    },
    model("a", names[0], "b"),
    model("b", names[1], "c"),
    model("c", names[2]),
    end
  ]

  const shares = Effect.fnUntraced(function* (count: number) {
    yield* Effect.repeat(Router.run(Provider.dynamic("r"), "Hi", { execution: "client" }), { times: count - 1 })
    const calls = yield* (yield* LocalGateway.Current).calls
    return ["openai", "groq", "mistral"].map((slug) => calls.filter(({ provider }) => provider === slug).length)
  })

  it.effect.each([
    [{ "10%": "a", "40%": "b", "50%": "c" }, [10, 40, 50]],
    [{ "10%": "a", "50%": "b", else: "c" }, [10, 50, 40]],
    [{ "99.5%": "b", "0.5%": "a" }, [0.5, 99.5, 0]],
    [{ "100%": "c" }, [0, 0, 100]],
    [{ "0%": "a", "100%": "b" }, [0, 100, 0]]
  ] as const)("splits by %j", ([outputs, percents]) =>
    Effect.gen(function* () {
      const count = 400
      const counts = yield* Effect.provide(shares(count), at({ routes: { r: split(outputs) } }))
      counts.forEach((found, i) => {
        const share = (percents[i] ?? 0) / 100
        assert.isAtMost(Math.abs(found - count * share), 4 * Math.sqrt(count * share * (1 - share)), `${counts}`)
      })
    }).pipe(Random.withSeed("percentage"))
  )

  it.effect("gives the answers of the chosen branch, fallbacks included", () =>
    Effect.gen(function* () {
      // As a client has them: the branch, then the rest in declared order.
      const branches = { openai: chats, groq: [chats[1], chats[2]], mistral: [chats[2]] }
      const faults = { openai: [{ status: 503 }], groq: [{ status: 503 }] } as const
      const seen = new Set<string>()
      for (let seed = 0; seed < 30; seed++) {
        const elements = split({ "30%": "a", "30.5%": "b", else: "c" })
        const byRoute = yield* Random.withSeed(
          outcome(Provider.dynamic("r"), { routes: { r: elements } }, faults),
          `seed ${seed}`
        )
        const first = byRoute.asked[0]?.split("/")[0] ?? ""
        seen.add(first)
        const [one, ...others] = branches[first === "openai" || first === "groq" ? first : "mistral"]
        if (one === undefined) continue
        assert.deepStrictEqual(byRoute, yield* outcome(Route.fallback(one, ...others), {}, faults))
      }
      assert.strictEqual(seen.size, 3)
    })
  )

  it.effect("may be the fallback of a model", () =>
    Effect.gen(function* () {
      const r = [
        start("a"),
        model("a", names[0], "split"),
        { id: "split", type: "percentage", outputs: { "100%": to("b") } },
        model("b", names[1]),
        end
      ]
      const { asked } = yield* outcome(Provider.dynamic("r"), { routes: { r } }, { openai: [{ status: 503 }] })
      assert.deepStrictEqual(asked, [names[0], names[1]])
    })
  )
})

describe("elements that cannot be executed", () => {
  const a = model("a", names[0])
  const shares = `1 to 5 shares such as "10%" that sum to 100%, or to less beside "else"`
  const percentage = (outputs: Readonly<Record<string, string>>) => ({
    id: "p",
    type: "percentage",
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, id]) => [name, to(id)]))
  })

  it.effect.each<readonly [unknown, string, string]>([
    [[a, end], "routes.r", "one element of the type start"],
    [[start("a"), start("a"), a, end], "routes.r", "elements with different ids"],
    [[start("a"), { ...start("a"), id: "s2" }, a, end], "routes.r", "one element of the type start"],
    [[start("x"), a, end], "routes.r[0].outputs.next.elementId", "the id of an element"],
    [[{ ...start("a"), outputs: {} }, a, end], "routes.r[0].outputs.next", "the id of an element"],
    [[start("end"), a, end], "routes.r (end)", "a model before each end"],
    [[start("a"), model("a", names[0], "a"), end], "routes.r (a)", "elements without a circle"],
    [[start("a"), model("a", "nobody/x"), end], "routes.r[1].properties", "provider-slug/model with a known provider"],
    [[start("a"), model("a", names[0], "end", { timeout: 0 }), end], "routes.r[1].properties.timeout", "whole milli"],
    [[start("a"), model("a", names[0], "end", { retries: 5 }), end], "routes.r[1].properties.retries", "from 0 to 4"],
    [[start("a"), { ...a, properties: undefined }, end], "routes.r[1].properties", "an object with provider"],
    [[start("a"), { ...a, outputs: { success: to("a") } }, end], "routes.r[1].outputs.success", "the end of the route"],
    [[start("a"), { ...a, outputs: { next: to("end") } }, end], "routes.r[1].outputs.next", "one of success, fallback"],
    [[start("a"), a, { ...a, id: "" }, end], "routes.r[2].id", "a text that is not empty"],
    [[start("a"), { ...a, type: "conditional" }, end], "routes.r[1].type", "conditions and limits are not offered"],
    [[start("a"), { ...a, type: "rate" }, end], "routes.r[1].type", "conditions and limits are not offered"],
    [[start("p"), percentage({ "50%": "a" }), a, end], "routes.r[1].outputs", shares],
    [[start("p"), percentage({ "60%": "a", "50%": "end" }), a, end], "routes.r[1].outputs", shares],
    [[start("p"), percentage({ half: "a", else: "a" }), a, end], "routes.r[1].outputs", shares],
    [[start("p"), percentage({ else: "a" }), a, end], "routes.r[1].outputs", shares],
    [[start("p"), percentage({ "50%": "a", else: "end" }), a, end], "routes.r (end)", "a model before each end"],
    [[names[0], a], "routes.r", "models alone, or elements alone"],
    [[start("a"), null], "routes.r", "models alone, or elements alone"],
    [[], "routes.r", "at least one model"]
  ])("%j: %s", ([r, field, accepted]) =>
    Effect.gen(function* () {
      // From callers without types: the JSON of a route.
      const routes = { r } as LocalGateway.Options["routes"]
      const { reason } = yield* Effect.flip(LocalGateway.make({ routes }))
      assert.strictEqual(reason._tag, "InvalidRequest")
      if (reason._tag !== "InvalidRequest") return
      assert.strictEqual(reason.field, field)
      assert.include(reason.accepted, accepted)
    })
  )
})

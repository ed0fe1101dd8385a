/**
 * Routes with races and hedges as data: pictures, JSON, bounds, losses, problems.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Route from "effect-ai-gateway/Route"
import { deepseek, groq, openai } from "./support/streamRuns.ts"

const hedged = Route.hedge(Route.fallback(openai, groq), { after: "2 seconds", max: 2 })
const learnt = Route.hedge(Route.fallback(openai, groq), {
  after: { percentile: 0.95, atLeast: 50, atMost: "3 seconds" },
  sideEffects: true
})
const raced = Route.race(openai, Route.fallback(groq, deepseek))

describe("a picture", () => {
  it("shows a hedge and a race", () => {
    assert.strictEqual(
      Route.describe(Route.deadline(hedged, "10 seconds")),
      [
        "deadline 10s",
        "  hedge after 2s, up to 2 more",
        "    fallback",
        "      openai m (chat/completions)",
        "      groq m (chat/completions)"
      ].join("\n")
    )
    assert.include(
      Route.describe(learnt),
      "hedge after the time of 95 % of answers, at least 50ms, at most 3s, up to 1 more, side effects too"
    )
    assert.strictEqual(Route.describe(Route.hedge(openai, "off")).split("\n")[0], "no hedge")
    assert.strictEqual(
      Route.describe(raced),
      [
        "race",
        "  openai m (chat/completions)",
        "  fallback",
        "    groq m (chat/completions)",
        "    deepseek m (chat/completions)"
      ].join("\n")
    )
  })

  it("is drawn with all branches of a race below one node", () => {
    const drawn = Route.toMermaid(Route.race(openai, groq))
    const arrows = drawn.split("\n").filter((line) => line.includes("n1 -->"))
    assert.include(drawn, 'n1{{"all at once"}}')
    assert.strictEqual(arrows.length, 2)
    assert.include(Route.toMermaid(hedged), 'subgraph n1["hedge after 2s, up to 2 more"]')
  })
})

describe("JSON", () => {
  it.each([
    { name: "a hedge", route: hedged },
    { name: "a learnt hedge", route: learnt },
    { name: "a hedge that is off", route: Route.hedge(Route.hedge(openai, "off"), { after: 10 }) },
    { name: "a race", route: raced },
    { name: "a race of side effects", route: Route.race([openai, groq], { sideEffects: true }) },
    {
      name: "a hedge among other settings",
      route: Route.fallback(openai, groq).pipe(
        Route.retry({ attempts: 2 }),
        Route.hedge({ after: 10 }),
        Route.deadline(99)
      )
    }
  ])("keeps $name", ({ route }) => {
    const json = Result.getOrThrow(Route.toJson(route))
    const read = Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(json))))
    assert.deepStrictEqual(Result.getOrThrow(Route.toJson(read)), json)
    assert.strictEqual(Route.describe(read), Route.describe(route))
  })

  it("holds settings and bodies in their places", () => {
    assert.deepInclude(Result.getOrThrow(Route.toJson(Route.deadline(hedged, "10 seconds"))).route, {
      deadline: "10 seconds",
      hedge: { after: "2 seconds", max: 2 }
    })
    assert.deepStrictEqual(Result.getOrThrow(Route.toJson(Route.race(openai, groq))).route, {
      race: [
        { provider: "openai", model: "m" },
        { provider: "groq", model: "m" }
      ]
    })
  })

  it("names the place of a value that it rejects", () => {
    const read = (route: unknown) =>
      Result.match(Route.fromJson({ version: 1, route }), {
        onSuccess: () => [],
        onFailure: (problems) => problems.map(({ field }) => field)
      })
    const one = { provider: "openai", model: "m" }
    assert.deepStrictEqual(read({ hedge: { after: 0 }, ...one }), ["route.hedge.after"])
    assert.deepStrictEqual(read({ hedge: { after: { percentile: 0.2 } }, ...one }), ["route.hedge.after.percentile"])
    assert.deepStrictEqual(read({ hedge: "on", ...one }).length > 0, true)
    assert.deepStrictEqual(read({ race: [] }), ["route.race"])
    assert.deepStrictEqual(read({ race: [one], fallback: [one] }), ["route"])
    assert.deepStrictEqual(read({ fallback: [one], sideEffects: true }), ["route.sideEffects"])
  })
})

describe("bounds", () => {
  it("add up a race, and keep those of a hedge", () => {
    const retried = Route.retry(openai, { attempts: 3, delay: 100, backoff: "constant" })
    const { attempts, concurrent, waiting } = Route.bounds(Route.race(retried, Route.fallback(groq, deepseek)))
    assert.deepStrictEqual([attempts, concurrent], [5, 2])
    assert.strictEqual(String(waiting), String(Route.bounds(retried).waiting))
    const both = Route.fallback(retried, groq)
    assert.deepInclude(Route.bounds(Route.hedge(both, { after: 10 })), { attempts: 4, concurrent: 2 })
    assert.deepInclude(Route.bounds(Route.hedge(both, { after: 10, max: 4 })), { attempts: 4, concurrent: 2 })
    assert.deepInclude(Route.bounds(both), { attempts: 4, concurrent: 1 })
  })

  it("count the attempts on a lone target outside its policy", () => {
    const lone = Route.hedge(Route.retry(openai, { attempts: 3 }), { after: 10, max: 2 })
    assert.deepInclude(Route.bounds(lone), { attempts: 5, requests: 5, concurrent: 3 })
    assert.deepInclude(Route.bounds(Route.hedge(Route.hedge(openai, "off"), { after: 10 })), { attempts: 1 })
  })
})

describe("compiling", () => {
  it("loses a hedge and a race, and keeps the order of the route if that is allowed", () => {
    const lost = (route: Route.Route<string, unknown>) =>
      Result.match(Route.compile(route, "hi"), {
        onSuccess: () => [],
        onFailure: (losses) => losses.map(({ kind }) => kind)
      })
    assert.deepStrictEqual(lost(hedged), ["hedge"])
    assert.deepStrictEqual(lost(raced), ["race"])
    assert.deepStrictEqual(lost(Route.hedge(openai, "off")), [])
    const compiled = Result.getOrThrow(Route.compile(raced, "hi", "universal", { allow: ["race"] }))
    assert.deepStrictEqual(compiled.keys, ["openai/m", "groq/m", "deepseek/m"])
  })
})

describe("problems", () => {
  it.each([
    ["hedge.after", { after: 0 }],
    ["hedge.after", { after: "soon" }],
    ["hedge.after", { after: Number.NaN }],
    ["hedge.after", { after: "1.5 millis" }],
    ["hedge.after", {}],
    ["hedge.after", { after: {} }],
    ["hedge.after.percentile", { after: { percentile: 0.49 } }],
    ["hedge.after.percentile", { after: { percentile: 1 } }],
    ["hedge.after.percentile", { after: { percentile: 95 } }],
    ["hedge.after.percentile", { after: { percentile: "0.95" } }],
    ["hedge.after.percentile", { after: { percentile: Symbol("p") } }],
    ["hedge.after.percentile", { after: { atMost: 10 } }],
    ["hedge.after.atMost", { after: { percentile: 0.9, atLeast: 20, atMost: 10 } }],
    ["hedge.after.atLeast", { after: { percentile: 0.9, atLeast: 0 } }],
    ["hedge.after.p95", { after: { percentile: 0.9, p95: 1 } }],
    ["hedge.max", { after: 10, max: 0 }],
    ["hedge.max", { after: 10, max: 5 }],
    ["hedge.max", { after: 10, max: 1.5 }],
    ["hedge.sideEffects", { after: 10, sideEffects: "yes" }],
    ["hedge.delay", { delay: 10 }],
    ["hedge", "on"],
    ["hedge", undefined]
  ])("name %s", (field, options) => {
    const route = Route.hedge(openai, options as never)
    assert.deepStrictEqual(
      Route.problems(route).map((problem) => problem.field),
      [field]
    )
  })

  it("name options of a race that do not exist or are no boolean", () => {
    const fieldOf = (options: unknown) => Route.problems(Route.race([openai, groq], options as never))[0]?.field
    assert.strictEqual(fieldOf({ sideEffect: true }), "race.sideEffect")
    assert.strictEqual(fieldOf({ sideEffects: "yes" }), "race.sideEffects")
    assert.isUndefined(fieldOf({ sideEffects: true }))
    assert.isUndefined(fieldOf({}))
  })

  it("name an empty race and a branch that is no route", () => {
    const problemsOf = (route: Route.Route<never, unknown>) => Route.problems(route).map(({ field }) => field)
    assert.deepStrictEqual(problemsOf((Route.race as (...routes: ReadonlyArray<unknown>) => typeof openai)()), ["race"])
    assert.include(problemsOf(Route.race(openai, "x" as never)), "race[1]")
  })
})

/**
 * Runs over the binding: through its own `fetch`, where nothing is shared with other calls, and options that Workers AI
 * knows.
 */
import type * as Workers from "@cloudflare/workers-types"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "../src/AiService.ts"
import type * as GatewayLog from "../src/GatewayLog.ts"
import * as GatewayOptions from "../src/GatewayOptions.ts"
import * as LocalGateway from "../src/local/LocalGateway.ts"
import * as Transport from "../src/Transport.ts"
import { type Ai, makeBinding } from "./support/bindingDouble.ts"

const llama = "@cf/meta/llama-3.1-8b-instruct"
const messages = [{ role: "user", content: "Hi" }]

/** A binding that records what reaches the service, which answers `{}`. */
const recording = () => {
  const seen: Array<Request> = []
  const binding = makeBinding(async (request) => {
    seen.push(request.clone())
    return Response.json({}, { headers: { "cf-aig-log-id": `log-${seen.length}` } })
  })
  return { binding, seen }
}

const withoutFetch = (ai: Ai): AiService.AiBinding => ({
  run: (model, inputs, options) => ai.run(model, inputs as Record<string, unknown>, options),
  models: () => ai.models(),
  gateway: (id) => ai.gateway(id)
})

const running = (
  binding: AiService.AiBinding,
  model: string,
  options: AiService.RunOptions,
  input: object = { messages }
) =>
  AiService.AiService.pipe(
    Effect.flatMap((ai) => ai.run(model, input, options)),
    Effect.provide(AiService.layerBinding(binding))
  )

const wire = (request: Request) =>
  Effect.promise(async () => ({
    url: request.url,
    method: request.method,
    headers: Object.fromEntries(request.headers),
    body: await request.json()
  }))

describe("a run over the binding", () => {
  const cases: ReadonlyArray<readonly [string, string, AiService.RunOptions]> = [
    ["Workers AI alone", llama, {}],
    ["Workers AI through a gateway", llama, { gateway: "gw", metadata: { a: 1 }, eventId: "e" }],
    ["a third party", "openai/gpt", { zeroDataRetention: true, gateway: "gw" }],
    ["a third party without a gateway's name", "openai/gpt", {}],
    ["a dynamic route", "dynamic/r", { gateway: "gw", cache: { ttl: "5 minutes" } }],
    ["tags and headers", llama, { tags: ["a"], headers: { "x-secret": Redacted.make("s") } }],
    ["options of Workers AI", llama, { queueRequest: true, rejectIfBusy: true, prefix: "beta", sessionAffinity: "s-1" }]
  ]

  it.effect.each(cases)("sends by fetch what it sends by run: %s", ([, model, options]) =>
    Effect.gen(function* () {
      const { binding, seen } = recording()
      yield* running(binding as AiService.AiBinding, model, options)
      yield* running(withoutFetch(binding), model, options)
      const [byFetch, byRun] = yield* Effect.forEach(seen, wire)
      assert.deepStrictEqual(byFetch, byRun)
    })
  )

  it.effect("knows its log id while others use env.AI.run, and leaves theirs alone", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const binding = makeBinding((request) => Effect.runPromise(gateway.handle(request)))
      const options = { gateway: { id: "default" } }
      const direct = Effect.promise(() => binding.run("openai/theirs", { messages }, options))
      const ours = running(binding as AiService.AiBinding, "openai/ours", { gateway: "default" })
      const mixed = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? Effect.exit(ours) : Effect.exit(direct)))
      const exits = yield* Effect.all(mixed, { concurrency: "unbounded" })
      const ids: Array<string | undefined> = []
      for (const exit of exits) {
        assert.strictEqual(exit._tag, "Success")
        const value: unknown = exit._tag === "Success" ? exit.value : undefined
        if (typeof value === "object" && value !== null && "meta" in value) {
          ids.push((value as { readonly meta: { readonly logId?: string } }).meta.logId)
        } else assert.include(JSON.stringify(value), "openai/theirs: Hi")
      }
      assert.strictEqual(new Set(ids).size, 25)
      assert.notInclude(ids, undefined)
    })
  )

  it.effect("gives a stream of the input to run, which alone can send it", () =>
    Effect.gen(function* () {
      const { binding, seen } = recording()
      const body = new Blob(["abc"]).stream()
      const input = { audio: { body, contentType: "audio/mpeg" } }
      yield* running(binding as AiService.AiBinding, "@cf/openai/whisper", {}, input)
      assert.include(seen[0]?.url, "userInputs=")
      assert.strictEqual(seen[0]?.headers.get("content-type"), "audio/mpeg")
    })
  )
})

describe("options that Workers AI alone knows", () => {
  const http = (seen: Array<Request>) =>
    AiService.layerHttp({ accountId: "acc", apiToken: Redacted.make("token") }).pipe(
      Layer.provide(
        Transport.layerFetch.pipe(
          Layer.provide(
            Layer.succeed(FetchHttpClient.Fetch, async (input: RequestInfo | URL, init?: RequestInit) => {
              seen.push(new Request(input, init))
              return Response.json({ success: true, result: {} })
            })
          )
        )
      )
    )

  it.effect("go over HTTP where they can", () =>
    Effect.gen(function* () {
      const seen: Array<Request> = []
      const run = (options: AiService.RunOptions) =>
        Effect.provide(
          Effect.flatMap(AiService.AiService, (ai) => ai.run(llama, { messages }, options)),
          http(seen)
        )
      yield* run({ queueRequest: true, sessionAffinity: "s-1" })
      yield* run({ rejectIfBusy: true })
      const [queued, busy] = yield* Effect.forEach(seen, wire)
      assert.match(String(queued?.url), /\?queueRequest=true$/)
      assert.strictEqual(queued?.headers["x-session-affinity"], "s-1")
      assert.deepStrictEqual(busy?.body, { messages, options: { rejectIfBusy: true } })
      const prefixed = yield* Effect.flip(run({ prefix: "beta" }))
      assert.include(prefixed.message, "prefix")
    })
  )

  it.effect.each([
    ["queueRequest", "openai/gpt", { queueRequest: true }],
    ["rejectIfBusy", "openai/gpt", { rejectIfBusy: true }],
    ["prefix", "openai/gpt", { prefix: "beta" }],
    ["sessionAffinity", "dynamic/r", { gateway: "gw", sessionAffinity: "s" }],
    ["prefix", llama, { prefix: "a b" }],
    ["sessionAffinity", llama, { sessionAffinity: "a\nb" }],
    ["sessionAffinity", llama, { sessionAffinity: "a", headers: { "x-session-affinity": "b" } }],
    ["queueRequest", llama, { queueRequest: "yes" as unknown as boolean }]
  ] as const)("%s is refused for %s with %j", ([field, model, options]) =>
    Effect.gen(function* () {
      const { binding, seen } = recording()
      const error = yield* Effect.flip(running(binding as AiService.AiBinding, model, options))
      assert.deepInclude(error.reason, { _tag: "InvalidRequest", field })
      assert.deepStrictEqual(seen, [])
    })
  )

  it.effect("extraHeaders of the binding are named, with the place for them", () =>
    Effect.gen(function* () {
      const { binding } = recording()
      const written = { extraHeaders: { "cf-aig-zdr": "true" }, gateway: "gw" }
      const options: AiService.RunOptions = written
      const error = yield* Effect.flip(running(binding as AiService.AiBinding, llama, options))
      assert.include(error.message, "extraHeaders")
      assert.include(error.message, "`headers`")
    })
  )
})

describe("types of the platform", () => {
  it("fit where that is sound", () => {
    const patch = (value: Pick<Workers.AiGatewayPatchLog, "feedback" | "score">): GatewayLog.Patch => value
    assert.deepStrictEqual(patch({ score: 1 }), { score: 1 })
    const binding = (ai: Workers.Ai): AiService.AiBinding => ai
    assert.isFunction(binding)
    // The platform's metadata may be null or bigint: the service drops all of it for one null, and the binding throws
    // on a bigint.
    const options = (gateway: Omit<Workers.GatewayOptions, "metadata">) =>
      GatewayOptions.fromBinding({ gateway, extraHeaders: {} })
    const read = Effect.runSync(options({ id: "gw", cacheTtl: 60, retries: { maxAttempts: 2 } }))
    assert.strictEqual(read.retries?.attempts, 2)
  })
})

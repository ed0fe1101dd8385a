/**
 * Names of options: a misspelt one is rejected before anything is sent, wherever a run accepts options.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import * as scripted from "./support/scripted.ts"
import { openai } from "./support/streamRuns.ts"

const names = "execution, allow, options, headers, session, budget, priority, quiet, admission, maxCost"

/** From a caller without types. */
const given = (options: object): Router.RunOptions => options

const cases = [
  { options: { sesion: "s" }, field: "sesion", accepted: `one of ${names}` },
  { options: { execution: "client", timeout: 5 }, field: "timeout", accepted: `one of ${names}` },
  { options: { metadata: { team: "a" }, session: "s" }, field: "metadata", accepted: `one of ${names}` },
  { options: { allow: "hedge" }, field: "allow", accepted: "a list of losses" },
  { options: { quiet: "yes" }, field: "quiet", accepted: "true or false" },
  { options: { admission: {} }, field: "admission", accepted: "a function" }
]

describe("options of a run", () => {
  it.effect.each(cases)(
    "reject $field before anything is sent, complete and streamed",
    ({ accepted, field, options }) =>
      Effect.gen(function* () {
        const { layer, seen } = scripted.make({})
        const runs = [
          Router.run(openai, "hi", given(options)),
          Effect.scoped(Router.open(openai, "hi", given(options))),
          Stream.runDrain(Router.stream(openai, "hi", given(options)))
        ]
        for (const run of runs) {
          const error = yield* Effect.flip(Effect.provide(Effect.asVoid(run), layer))
          assert.deepInclude(error.reason, { _tag: "InvalidRequest", origin: "client", field, accepted })
        }
        assert.strictEqual(seen.length, 0)
      })
  )

  it.effect("may be absent, empty, or fields without a value", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const all = [undefined, {}, { sesion: undefined }, { quiet: undefined, allow: [] }]
      for (const options of all) {
        yield* Effect.provide(Router.run(openai, "hi", options && given(options)), layer)
      }
      assert.strictEqual(seen.length, all.length)
    })
  )

  it.effect("reach the run of a response, which rejects the ones that do not exist", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const respond = (options: object) => Effect.provide(StreamResponse.fromRoute(openai, "hi", options), layer)
      assert.strictEqual((yield* respond({ sesion: "s" })).status, 400)
      assert.strictEqual((yield* respond({ session: "" })).status, 400)
      assert.strictEqual(seen.length, 0)
      const answer = yield* respond({ session: "s", quiet: true, headers: { "x-own": "1" } })
      assert.strictEqual(answer.headers.get("x-own"), "1")
      assert.isDefined(seen[0]?.headers["cf-aig-session-id"])
      assert.isUndefined(seen[0]?.headers["x-own"])
    })
  )
})

// Records, so that the compiler reports a missing name.
const job: Readonly<Record<keyof Batch.Options<unknown, unknown, unknown>, true>> = {
  route: true,
  input: true,
  id: true,
  concurrency: true,
  limits: true,
  itemDeadline: true,
  jobDeadline: true,
  ordered: true,
  buffer: true,
  journal: true,
  duplicates: true,
  quotaPatience: true,
  outagePatience: true,
  throttlePatience: true,
  isFatal: true,
  options: true,
  execution: true,
  cost: true
}
const limits: Readonly<Record<keyof Batch.Limits<unknown>, true>> = {
  requestsPerMinute: true,
  tokensPerMinute: true,
  burst: true,
  skew: true,
  tokens: true,
  limiter: true,
  key: true
}
const journal: Readonly<Record<keyof Batch.JournalOptions<unknown>, true>> = {
  store: true,
  value: true,
  retryFailed: true,
  fingerprint: true,
  force: true,
  replay: true
}
const oneOf = (names: object): string => `one of ${Object.keys(names).join(", ")}`

describe("options of a batch", () => {
  it.effect("reject names that do not exist, also nested ones", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const base = { route: openai, input: (item: string) => item, id: (item: string) => item }
      const wrong = [
        [{ concurency: 4 }, "concurency", oneOf(job)],
        [{ limits: { requestPerMinute: 5 } }, "limits.requestPerMinute", oneOf(limits)],
        [{ journal: { stor: {} } }, "journal.stor", oneOf(journal)]
      ] as const
      for (const [options, field, accepted] of wrong) {
        const error = yield* Batch.run(Stream.make("a"), { ...base, ...(options as object) }).pipe(
          Stream.runDrain,
          Effect.flip,
          Effect.provide(layer)
        )
        assert.deepInclude(error._tag === "GatewayError" ? error.reason : {}, {
          _tag: "InvalidRequest",
          field,
          accepted
        })
      }
      assert.strictEqual(seen.length, 0)
    })
  )
})

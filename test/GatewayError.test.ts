import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as GatewayError from "../src/GatewayError.ts"

const { GatewayError: Failure } = GatewayError

const origins = ["client", "gateway", "api", "provider"] as const

/** One value of every variant that code can create. */
const variantsWith = (facts: GatewayError.Facts): ReadonlyArray<GatewayError.Reason> => [
  ...(["connect", "reset", "stale", "unknown"] as const).map(
    (kind) => new GatewayError.TransportFailure({ kind, ...facts })
  ),
  ...(["firstByte", "idle", "deadline", "upstream"] as const).map(
    (phase) => new GatewayError.Timeout({ phase, ...facts })
  ),
  ...origins.map((origin) => new GatewayError.RateLimited({ origin, ...facts })),
  ...(["spend", "credits", "allocation"] as const).flatMap((kind) =>
    origins.map((origin) => new GatewayError.QuotaExhausted({ kind, origin, ...facts }))
  ),
  ...origins.map((origin) => new GatewayError.Unauthorized({ origin, ...facts })),
  ...origins.map((origin) => new GatewayError.InvalidRequest({ origin, ...facts })),
  new GatewayError.Unsupported({ field: "seed", accepted: "nothing", ...facts }),
  new GatewayError.ContextLengthExceeded(facts),
  ...(["guardrail", "dlp", "provider"] as const).flatMap((by) =>
    (["prompt", "response", "unknown"] as const).map(
      (subject) => new GatewayError.ContentBlocked({ by, subject, ...facts })
    )
  ),
  ...(["gateway", "model", "log", "route", "run", "endpoint"] as const).map(
    (what) => new GatewayError.NotFound({ what, ...facts })
  ),
  ...origins.map((origin) => new GatewayError.ProviderUnavailable({ origin, ...facts })),
  new GatewayError.InvalidResponse(facts),
  new GatewayError.StreamInterrupted({ events: 3, ...facts }),
  ...(["limiter", "breaker", "budget", "cost"] as const).map((by) => new GatewayError.Rejected({ by, ...facts })),
  new GatewayError.BindingMissing({ member: "AI.gateway", ...facts }),
  new GatewayError.Unknown(facts)
]
const variants = variantsWith({})

/** Fails to compile when a reason is added, so that the list above gets completed. */
const tags: Record<GatewayError.ReasonTag, true> = {
  TransportFailure: true,
  Timeout: true,
  RateLimited: true,
  QuotaExhausted: true,
  Unauthorized: true,
  InvalidRequest: true,
  Unsupported: true,
  ContextLengthExceeded: true,
  ContentBlocked: true,
  NotFound: true,
  ProviderUnavailable: true,
  InvalidResponse: true,
  StreamInterrupted: true,
  Rejected: true,
  BindingMissing: true,
  Unknown: true
}

const describeReason = (reason: GatewayError.Reason) =>
  [reason._tag, GatewayError.variant(reason)].filter((part) => part !== undefined).join(" ")

describe("the decision table", () => {
  it("has a row for every reason, and no two rows for the same", () => {
    assert.deepStrictEqual([...new Set(variants.map(({ _tag }) => _tag))].sort(), Object.keys(tags).sort())
    for (const tag of Object.keys(tags)) {
      // The row without a variant must be present and come last, or a variant could go without an answer.
      const rows = GatewayError.decisions.filter(({ reason }) => reason === tag)
      assert.strictEqual(
        rows.findIndex(({ variant }) => variant === undefined),
        rows.length - 1,
        tag
      )
      assert.isAbove(rows.length, 0, tag)
    }
    const keys = GatewayError.decisions.map(({ reason, variant }) => `${reason} ${variant}`)
    assert.strictEqual(new Set(keys).size, keys.length)
  })

  it("has only rows that a reason reaches", () => {
    const reached = new Set(variants.map(GatewayError.decide))
    assert.deepStrictEqual(
      GatewayError.decisions.filter((row) => !reached.has(row)),
      []
    )
  })

  it("is consistent: again implies next, and only again waits", () => {
    for (const row of GatewayError.decisions) {
      if (row.again) assert.isTrue(row.next, row.reason)
      assert.strictEqual(row.wait === "none", !row.again, row.reason)
    }
  })

  it("answers for every variant with its own row", () => {
    for (const reason of variants) {
      const row = GatewayError.decide(reason)
      assert.strictEqual(row.reason, reason._tag)
      assert.isTrue(row.variant === undefined || row.variant === GatewayError.variant(reason))
    }
  })

  // The defaults of the design, case by case.
  const again = { again: true, next: true, wait: "backoff" } as const
  const hint = { again: true, next: true, wait: "hint" } as const
  const next = { again: false, next: true, wait: "none" } as const
  const stop = { again: false, next: false, wait: "none" } as const
  const expected: Record<string, GatewayError.Decision> = {
    TransportFailure: again,
    "Timeout firstByte": again,
    "Timeout idle": again,
    "Timeout upstream": again,
    "Timeout deadline": next,
    RateLimited: hint,
    QuotaExhausted: next,
    "Unauthorized provider": next,
    "Unauthorized client": stop,
    "Unauthorized gateway": stop,
    "Unauthorized api": stop,
    InvalidRequest: stop,
    Unsupported: next,
    ContextLengthExceeded: next,
    "ContentBlocked provider": next,
    "ContentBlocked guardrail": stop,
    "ContentBlocked dlp": stop,
    "NotFound model": next,
    "NotFound route": next,
    "NotFound run": next,
    "NotFound endpoint": next,
    "NotFound gateway": stop,
    "NotFound log": stop,
    ProviderUnavailable: hint,
    InvalidResponse: next,
    StreamInterrupted: stop,
    Rejected: next,
    BindingMissing: stop,
    Unknown: next
  }
  for (const [name, decision] of Object.entries(expected)) {
    it(`${name}: ${decision.again ? "again" : decision.next ? "next" : "stop"}, wait ${decision.wait}`, () => {
      const matching = variants.filter((reason) => describeReason(reason) === name)
      assert.isAbove(matching.length, 0)
      for (const reason of matching) {
        const { again, next, wait } = GatewayError.decide(reason)
        assert.deepStrictEqual({ again, next, wait }, decision)
        assert.strictEqual(new Failure({ method: "m", reason }).isRetryable, decision.again)
      }
    })
  }

  it("never retries the same target after a failure inside a 2xx answer", () => {
    const decisions = (status: number) =>
      variantsWith({ status }).map((reason) => {
        const { again, next, wait } = GatewayError.decide(reason)
        return { again, next, wait }
      })
    const outside = decisions(503)
    for (const status of [200, 299]) {
      assert.deepStrictEqual(
        decisions(status),
        outside.map(({ next }) => ({ again: false, next, wait: "none" }))
      )
    }
    for (const status of [199, 300, 429]) assert.deepStrictEqual(decisions(status), outside)
    assert.isFalse(
      new Failure({ method: "m", reason: new GatewayError.Timeout({ phase: "upstream", status: 200 }) }).isRetryable
    )
  })

  it("lists every variant above", () => {
    assert.deepStrictEqual([...new Set(variants.map(describeReason))].sort(), Object.keys(expected).sort())
  })
})

describe("messages", () => {
  it("state what happened", () => {
    const of = (reason: GatewayError.Reason) => reason.message
    assert.strictEqual(of(new GatewayError.TransportFailure({ kind: "stale" })), "transport failed (stale)")
    assert.strictEqual(
      of(new GatewayError.Timeout({ phase: "firstByte", limit: Duration.seconds(5) })),
      "timed out (firstByte) after 5s"
    )
    assert.strictEqual(
      of(new GatewayError.RateLimited({ origin: "provider", retryAfter: Duration.millis(1500) })),
      "rate limited by provider, retry after 1.5s"
    )
    assert.strictEqual(
      of(new GatewayError.InvalidRequest({ origin: "client", field: "timeout", accepted: "1 or more" })),
      "invalid timeout: expected 1 or more"
    )
    assert.strictEqual(of(new GatewayError.ContentBlocked({ by: "dlp", subject: "unknown" })), "content blocked by dlp")
    for (const reason of variants) assert.isAbove(reason.message.length, 8)
  })

  it("name method, target, status, code and the number of attempts", () => {
    const reason = new GatewayError.ProviderUnavailable({ origin: "provider", status: 400, code: "2005" })
    const attempt = {
      target: "t",
      provider: "openai",
      endpoint: "chat/completions",
      outcome: "failure",
      startedAt: 0,
      duration: Duration.zero
    } as const
    assert.strictEqual(
      new Failure({ method: "GatewayService.run", reason, provider: "openai", model: "gpt-4.1-mini" }).message,
      "GatewayService.run: openai/gpt-4.1-mini: provider unavailable (status 400, code 2005)"
    )
    assert.strictEqual(
      new Failure({ method: "Router.run", reason: new GatewayError.Unknown({}), attempts: [attempt, attempt] }).message,
      "Router.run: unknown failure (2 attempts)"
    )
  })

  it("hold no detail, whatever the reason", () => {
    const detail = "prompt: my secret is sk-4242"
    for (const reason of variantsWith({ detail, status: 400, code: "2005" })) {
      const error = new Failure({ method: "m", reason })
      for (const text of [reason.message, error.message, String(reason), String(error)]) {
        assert.notInclude(text, "sk-4242")
        assert.notInclude(text, "prompt:")
      }
    }
  })
})

describe("the wait hint", () => {
  it("is the one of the reason", () => {
    const retryAfter = Duration.seconds(7)
    const hinted = [
      new GatewayError.RateLimited({ origin: "gateway", retryAfter }),
      new GatewayError.QuotaExhausted({ kind: "spend", origin: "gateway", retryAfter }),
      new GatewayError.ProviderUnavailable({ origin: "provider", retryAfter }),
      new GatewayError.Rejected({ by: "limiter", retryAfter })
    ]
    for (const reason of hinted) {
      assert.strictEqual(GatewayError.retryAfter(reason), retryAfter)
      assert.strictEqual(new Failure({ method: "m", reason }).retryAfter, retryAfter)
    }
    for (const reason of variants) assert.isUndefined(GatewayError.retryAfter(reason))
  })
})

describe("GatewayError", () => {
  it("is recognized, also when another copy of the package made it", () => {
    const error = new Failure({ method: "m", reason: new GatewayError.Unknown({}) })
    assert.isTrue(GatewayError.isGatewayError(error))
    class Other extends Error {
      readonly _tag = "GatewayError"
      readonly reason = error.reason
      get isRetryable(): boolean {
        return false
      }
    }
    assert.isTrue(GatewayError.isGatewayError(new Other()))
    for (const other of [
      // A copy of an error after RPC, a journal or a worker thread: its fields, and none of its getters.
      { ...error },
      { _tag: "GatewayError", reason: error.reason, method: "m" },
      JSON.parse(JSON.stringify(error)),
      structuredClone(error),
      undefined,
      null,
      "GatewayError",
      new Error("m"),
      error.reason,
      { _tag: "GatewayError" },
      { reason: error.reason }
    ]) {
      assert.isFalse(GatewayError.isGatewayError(other))
    }
    assert.instanceOf(error, Error)
    assert.include(error.stack ?? "", "GatewayError.test.ts")
  })

  it("`invalid` names the field and the accepted range", () => {
    const error = GatewayError.invalid("GatewayOptions.make", "cache.ttl", "60 seconds to 30 days")
    assert.strictEqual(error.message, "GatewayOptions.make: invalid cache.ttl: expected 60 seconds to 30 days")
    assert.deepInclude({ ...error.reason }, { _tag: "InvalidRequest", origin: "client" })
  })
})

describe("handling", () => {
  const fail = (reason: GatewayError.Reason): Effect.Effect<string, GatewayError.GatewayError> =>
    Effect.fail(new Failure({ method: "m", logId: "l-1", reason }))
  const limited = fail(new GatewayError.RateLimited({ origin: "provider", retryAfter: Duration.seconds(2) }))
  const blocked = fail(new GatewayError.ContentBlocked({ by: "dlp", subject: "prompt" }))

  it.effect("catchTag sees the whole error", () =>
    Effect.gen(function* () {
      const handled = blocked.pipe(
        Effect.catchTag("GatewayError", (error) => Effect.succeed(`${error.reason._tag} ${error.logId}`))
      )
      assert.strictEqual(yield* handled, "ContentBlocked l-1")
    })
  )

  it.effect("catchReason handles one reason and lets the others pass", () =>
    Effect.gen(function* () {
      const handle = (self: Effect.Effect<string, GatewayError.GatewayError>) =>
        self.pipe(
          Effect.catchReason("GatewayError", "RateLimited", (reason, error) =>
            Effect.succeed(`${Duration.format(reason.retryAfter ?? Duration.zero)} ${error.logId}`)
          )
        )
      assert.strictEqual(yield* handle(limited), "2s l-1")
      assert.strictEqual((yield* Effect.flip(handle(blocked))).reason._tag, "ContentBlocked")
    })
  )

  it.effect("catchReasons handles several", () =>
    Effect.gen(function* () {
      const handle = (self: Effect.Effect<string, GatewayError.GatewayError>) =>
        self.pipe(
          Effect.catchReasons("GatewayError", {
            RateLimited: () => Effect.succeed("later"),
            ContentBlocked: ({ by }) => Effect.succeed(`never: ${by}`)
          })
        )
      assert.strictEqual(yield* handle(limited), "later")
      assert.strictEqual(yield* handle(blocked), "never: dlp")
      const unknown = yield* Effect.flip(handle(fail(new GatewayError.Unknown({}))))
      assert.isTrue(GatewayError.isGatewayError(unknown))
    })
  )
})

/**
 * Requests to a local gateway, and virtual time around promises.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { settle } from "../support/settle.ts"

export { settle }

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers whose shape is what they check
  readonly json: any
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const replyOf = (response: Response): Effect.Effect<Reply> =>
  Effect.map(
    Effect.promise(() => response.text()),
    (text) => ({ status: response.status, headers: Object.fromEntries(response.headers), text, json: parse(text) })
  )

export const base = "http://gateway.test"
export const dataPlane = `${base}/v1/local/default`
export const api = `${base}/client/v4/accounts/local`
export const logs = `${api}/ai-gateway/gateways/default/logs`
export const binding = "https://workers-binding.ai"

export const request = (method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Request =>
  new Request(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
  })

export const call = (
  gateway: LocalGateway.LocalGateway,
  method: string,
  url: string,
  body?: unknown,
  headers?: Record<string, string>
): Effect.Effect<Reply, LocalGateway.Disconnect> =>
  Effect.suspend(() => Effect.flatMap(gateway.handle(request(method, url, body, headers)), replyOf))

/** Runs an effect and advances virtual time until it ends. Sleepers wake at their exact instants. */
export const drive = <A, E, R>(self: Effect.Effect<A, E, R>, step: Duration.Input = "100 millis") =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self)
    for (let i = 0; i < 2000 && fiber.pollUnsafe() === undefined; i++) {
      yield* settle
      if (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(step)
    }
    return yield* Fiber.join(fiber)
  })

/** Runs an effect to its first wait, then returns its fiber. */
export const started = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.tap(Effect.forkChild(self), () => settle)

export interface LegInput {
  readonly headers?: Record<string, unknown>
  readonly config?: Record<string, unknown>
  readonly text?: string
}

/** An upstream that answers with the JSON of the request, whatever the endpoint. */
export const mirror: Upstream.Upstream = Upstream.make(({ json }) =>
  Effect.succeed({
    status: 200,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ mirrored: json ?? null })
  })
)

/** One leg per provider, with a body in the provider's dialect. */
export const leg = (provider: string, model = "m", { config, headers = {}, text = "Hello" }: LegInput = {}) => ({
  provider,
  endpoint:
    provider === "anthropic"
      ? "v1/messages"
      : provider === "workers-ai"
        ? "@cf/meta/llama-3.1-8b-instruct"
        : "chat/completions",
  headers,
  query: { model, max_tokens: 10, messages: [{ role: "user", content: text }] },
  ...(config === undefined ? {} : { config })
})

export const universal = (
  gateway: LocalGateway.LocalGateway,
  legs: unknown,
  headers?: Record<string, string>
): Effect.Effect<Reply, LocalGateway.Disconnect> => call(gateway, "POST", dataPlane, legs, headers)

export const chat = (
  gateway: LocalGateway.LocalGateway,
  headers?: Record<string, string>,
  body: unknown = leg("openai").query
): Effect.Effect<Reply, LocalGateway.Disconnect> =>
  call(gateway, "POST", `${dataPlane}/openai/chat/completions`, body, headers)

/** Provider and attempt of every call, for one-line assertions. */
export const trace = (gateway: LocalGateway.LocalGateway): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(gateway.calls, (calls) =>
    calls.map(({ attempt, leg, outcome, provider, status }) =>
      [`${leg}:${provider}#${attempt}`, outcome ?? "running", ...(status === undefined ? [] : [status])].join(" ")
    )
  )

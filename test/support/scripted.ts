/**
 * A scripted gateway: each provider answers with the next line of its script. In process, on the test clock.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Router from "effect-ai-gateway/Router"

export interface Line {
  readonly status?: number
  readonly body?: unknown
  /** Body text as it is, instead of JSON. */
  readonly text?: string
  readonly headers?: Record<string, string>
  /** Milliseconds before the headers. */
  readonly delay?: number
  /** What happens before the headers. */
  readonly after?: Effect.Effect<unknown>
  readonly never?: boolean
  readonly reset?: boolean
}

export interface Seen {
  readonly provider: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** The answer that an OpenAI-shaped provider gives. */
export const completion = (text: string, model = "m") => ({
  id: "c1",
  object: "chat.completion",
  model,
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
})

/** Lines by provider, or what to say to a request; without a line the provider answers well. */
export type Script = Readonly<Record<string, ReadonlyArray<Line>>> | ((request: Seen) => Line | undefined)

const responder = (script: Script): ((request: Seen) => Line | undefined) => {
  if (typeof script === "function") return script
  const left = new Map(Object.entries(script).map(([provider, lines]) => [provider, [...lines]]))
  return ({ provider }) => left.get(provider)?.shift()
}

export const make = (
  script: Script,
  execution: Router.Execution = "client",
  { router, ...options }: { readonly token?: Redacted.Redacted<string>; readonly router?: Router.Options } = {}
) => {
  const seen: Array<Seen> = []
  const interrupted: Array<string> = []
  const respond = responder(script)
  let logs = 0
  const client = HttpClient.make((request, url) => {
    const provider = url.pathname.split("/")[4] ?? ""
    const body: unknown =
      request.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(request.body.body)) : undefined
    const one: Seen = { provider, path: url.pathname, headers: { ...request.headers }, body }
    seen.push(one)
    const line = respond(one) ?? { body: completion(`answer of ${provider}`) }
    const logId = `log-${++logs}`
    const answer = Effect.gen(function* () {
      if (line.delay !== undefined) yield* Effect.sleep(line.delay)
      if (line.after !== undefined) yield* line.after
      if (line.never === true) return yield* Effect.never
      if (line.reset === true) {
        return yield* new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: new Error("reset") })
        })
      }
      const text = line.text ?? JSON.stringify(line.body ?? { error: { message: "no" } })
      return HttpClientResponse.fromWeb(
        request,
        new Response(text, {
          status: line.status ?? 200,
          headers: { "content-type": "application/json", "cf-aig-log-id": logId, ...line.headers }
        })
      )
    })
    return Effect.onInterrupt(answer, () => Effect.sync(() => interrupted.push(provider)))
  })
  const http = Layer.succeed(HttpClient.HttpClient, client)
  const gateway = GatewayService.layerHttp({ accountId: "acct", gateway: "gw", ...options }).pipe(Layer.provide(http))
  return {
    client: http,
    seen,
    interrupted,
    layer: Router.layerWith({ execution, ...router }).pipe(Layer.provideMerge(gateway))
  }
}

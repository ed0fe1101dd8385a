/**
 * A scripted gateway in this process, on the clock of the program.
 *
 * Requests pass through the library's own encoding, so that a test sees what would be on the wire. Nothing waits for a
 * promise: under `TestClock`, time stands still until everything at one instant has happened.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { type GatewayError, invalid } from "../GatewayError.ts"
import type { Problem } from "../GatewayOptions.ts"
import * as GatewayService from "../GatewayService.ts"
import { isRecord } from "../internal/data/json.ts"
import { checkHttp, makeBackend } from "../internal/gateway/http.ts"
import { openai } from "./peer/answers.ts"
import { type Line, lineProblems } from "./peer/line.ts"
import { makeSend, type Seen } from "./peer/send.ts"

export type { Line, Piece } from "./peer/line.ts"
export type { Seen } from "./peer/send.ts"

/**
 * Script of a peer: lines by provider, of which each request takes the next; or a function from each request to its
 * line. A request without a line gets a good answer, in the dialect of the request.
 *
 * @category models
 */
export type Script = Readonly<Record<string, ReadonlyArray<Line>>> | ((request: Seen) => Line | undefined)

/**
 * Options of {@link make}.
 *
 * @category models
 */
export interface Options {
  /** Default `"acct"`. */
  readonly accountId?: string | undefined
  /** Default `"gw"`. */
  readonly gateway?: string | undefined
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * A scripted peer.
 *
 * @category models
 */
export interface ScriptedPeer {
  /**
   * The gateway. Fails with `InvalidRequest` when a line of the script is invalid, naming it
   * (`script.openai[1].status`). An invalid line from a function fails the request instead.
   */
  readonly layer: Layer.Layer<GatewayService.GatewayService, GatewayError>
  /** All requests so far, in order. It grows while the program runs. */
  readonly seen: ReadonlyArray<Seen>
  /** Requests whose caller left before the end, in the order of leaving. */
  readonly interrupted: ReadonlyArray<Seen>
}

/**
 * Makes the body of an OpenAI-shaped chat completion, with usage of 1 token in and 2 out.
 *
 * @category answers
 */
export const completion = (text: string, model = "m") => openai({ text, model, usage: { input: 1, output: 2 } })

/**
 * Makes the pieces of an event stream from texts: `data: …`, with a blank line after each.
 *
 * @category answers
 */
export const events = (...values: ReadonlyArray<string | object>): ReadonlyArray<string> =>
  values.map((value) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`)

const scriptProblems = (script: Script): ReadonlyArray<Problem> => {
  if (typeof script === "function") return []
  if (!isRecord(script)) return [{ field: "script", accepted: "lists of lines by provider, or a function" }]
  return Object.entries(script).flatMap(([provider, lines]) =>
    Array.isArray(lines)
      ? lines.flatMap((line, index) => lineProblems(`script.${provider}[${index}]`, line))
      : [{ field: `script.${provider}`, accepted: "a list of lines" }]
  )
}

const responder = (script: Script): ((request: Seen) => Line | undefined) => {
  if (typeof script === "function") return script
  const at = new Map<string, number>()
  return ({ provider }) => {
    const next = at.get(provider) ?? 0
    at.set(provider, next + 1)
    return Object.hasOwn(script, provider) ? script[provider]?.[next] : undefined
  }
}

/**
 * Makes a peer from a script. The peer's memory (`seen`, the position in the script) belongs to this value, however
 * often its layer is built.
 *
 * A universal request is first offered to the script as one request, with an empty provider and the legs as its body.
 * Without a line for it, its legs run in order until one answers below 300, and `seen` has each of them. For the
 * gateway's own retries, timeouts, cache and logs, use the local gateway (`effect-ai-gateway/local`).
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 * import { ScriptedPeer } from "effect-ai-gateway/testing"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5"))
 * const peer = ScriptedPeer.make({ openai: [{ status: 503 }], anthropic: [{ answer: "Saturn" }] })
 *
 * const { value } = await Effect.runPromise(
 *   Router.run(ask, "Which planet has the most moons?", { quiet: true }).pipe(
 *     Effect.provide(Router.layerWith({ execution: "client" })),
 *     Effect.provide(peer.layer)
 *   )
 * )
 * console.log(value.text) // Saturn
 * console.log(peer.seen.map(({ provider }) => provider).join()) // openai,anthropic
 * ```
 *
 * @category constructors
 */
export const make = (script: Script = {}, options: Options = {}): ScriptedPeer => {
  const seen: Array<Seen> = []
  const interrupted: Array<Seen> = []
  const send = makeSend(responder(script), typeof script === "function", {
    arrived: (request) => seen.push(request),
    ended: (request) => {
      if (request.state === "interrupted") interrupted.push(request)
    }
  })
  const layer = Layer.effect(
    GatewayService.GatewayService,
    Effect.suspend(() => {
      const { accountId = "acct", gateway = "gw", token } = options
      const [problem] = scriptProblems(script)
      if (problem !== undefined) return Effect.fail(invalid("ScriptedPeer.make", problem.field, problem.accepted))
      const http = { accountId, gateway, token }
      return Effect.flatMap(checkHttp("ScriptedPeer.make", http, { accountId, gateway }), () =>
        GatewayService.make(gateway, makeBackend(http, send))
      )
    })
  )
  return { layer, seen, interrupted }
}

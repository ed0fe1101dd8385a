/**
 * A gateway in this process that does what a script says, on the clock of the program.
 *
 * Requests pass through the library's own encoding, so that a test sees what would be on the wire. Nothing waits for a promise:
 * under `TestClock`, time stands still until all that happens at a moment has happened.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { type GatewayError, InvalidRequest, invalid, type Reason } from "../GatewayError.ts"
import type { Problem } from "../GatewayOptions.ts"
import * as GatewayService from "../GatewayService.ts"
import { isRecord, parseJson } from "../internal/data/json.ts"
import { checkHttp, makeBackend } from "../internal/gateway/http.ts"
import type { RawResponse } from "../internal/transport/body.ts"
import { isRedirect, type Outgoing, redirected, type Send, transportReason } from "../internal/transport/request.ts"
import { type Answer, openai, write } from "./peer/answers.ts"
import { type BodyEnd, bodyOf, reset } from "./peer/body.ts"
import { type Line, lineProblems, type Piece, toMillis } from "./peer/line.ts"

export type { Line, Piece } from "./peer/line.ts"

/** A request that reached the peer. */
export interface Seen {
  /** Its place among all requests, from 1. */
  readonly number: number
  readonly provider: string
  /** The model that the body or the path names. */
  readonly model: string | undefined
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  /** When it arrived: milliseconds since the epoch, by the clock of the program. */
  readonly at: number
  /**
   * `waiting`: no headers yet. `streaming`: headers, and not yet the last piece. `interrupted`: the caller left. `failed`: the
   * connection broke.
   */
  readonly state: "waiting" | "streaming" | BodyEnd
}

/**
 * Lines by provider, each request of which takes the next one; or a function from each request to its line. Without a line, a request gets a good answer, in
 * the dialect that it asks for.
 */
export type Script = Readonly<Record<string, ReadonlyArray<Line>>> | ((request: Seen) => Line | undefined)

/** Options of {@link make}. */
export interface Options {
  /** Default `"acct"`. */
  readonly accountId?: string | undefined
  /** Default `"gw"`. */
  readonly gateway?: string | undefined
  readonly token?: Redacted.Redacted<string> | undefined
}

/** A scripted peer. */
export interface ScriptedPeer {
  /**
   * The gateway. Fails with `InvalidRequest` when a line of the script is wrong, naming it (`script.openai[1].status`). A wrong line from a function fails the request instead.
   */
  readonly layer: Layer.Layer<GatewayService.GatewayService, GatewayError>
  /** All requests so far, in order. It grows while the program runs. */
  readonly seen: ReadonlyArray<Seen>
  /** Requests whose caller left before the end, in that order. */
  readonly interrupted: ReadonlyArray<Seen>
}

/** The body of an OpenAI-shaped chat completion, with usage of 1 token in and 2 out. */
export const completion = (text: string, model = "m") => openai({ text, model, usage: { input: 1, output: 2 } })

/** Texts as the pieces of an event stream: `data: …`, with a blank line after each. */
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

interface Asked {
  readonly provider: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

const lowered = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

const textIn = (value: Readonly<Record<string, unknown>>, name: string): string => {
  const found = value[name]
  return typeof found === "string" ? found : ""
}

const askedOf = ({ body, headers, url }: Outgoing): Asked => {
  const { pathname, search } = new URL(url)
  return {
    provider: pathname.split("/")[4] ?? "",
    path: `${pathname}${search}`,
    headers: lowered(headers),
    body: body === undefined ? undefined : parseJson(body)
  }
}

/** The requests to providers in a universal request. */
const legsOf = ({ body, headers, path }: Asked): ReadonlyArray<Asked> =>
  (Array.isArray(body) ? body : []).filter(isRecord).map((leg) => ({
    provider: textIn(leg, "provider"),
    path: `${path}/${textIn(leg, "provider")}/${textIn(leg, "endpoint")}`,
    headers: { ...headers, ...(isRecord(leg["headers"]) && lowered(leg["headers"] as Record<string, string>)) },
    body: leg["query"]
  }))

const modelOf = ({ body, path, provider }: Asked): string | undefined => {
  if (isRecord(body) && typeof body["model"] === "string") return body["model"]
  const inPath = /\/models\/([^/:?]+):/.exec(path)?.[1]
  if (inPath !== undefined) return decodeURIComponent(inPath)
  return provider === "workers-ai" ? path.split("/workers-ai/")[1] : undefined
}

type Mutable = { -readonly [K in keyof Seen]: Seen[K] }

/** The headers and pieces of an answer. */
const answered = (request: Seen, line: Line): { readonly type: string; readonly pieces: ReadonlyArray<Piece> } => {
  const json = (body: unknown) => ({ type: "application/json", pieces: [JSON.stringify(body)] })
  if (line.stream !== undefined) return { type: "text/event-stream", pieces: line.stream }
  if (line.text !== undefined) return { type: "application/json", pieces: [line.text] }
  if (line.body !== undefined) return json(line.body)
  if (line.answer === undefined && (line.status ?? 200) >= 300) return json({ error: { message: "no" } })
  const said: Answer = {
    text: line.answer ?? `answer of ${request.provider}`,
    model: request.model ?? "m",
    usage: line.usage ?? { input: 1, output: 2 }
  }
  const written = write(request.provider, request.path, request.body, said)
  if ("body" in written) return json(written.body)
  const { pace } = line
  const paced = (event: string, index: number): ReadonlyArray<Piece> =>
    pace === undefined || index === 0 ? [event] : [{ wait: pace }, event]
  return { type: "text/event-stream", pieces: written.events.flatMap(paced) }
}

/**
 * Makes a peer from a script. The peer's memory (`seen`, the position in the script) belongs to this value, however often its layer is built.
 *
 * A universal request is first offered to the script as one request, with an empty provider and the legs as its body. Without a line for it, its legs are played in
 * order until one answers below 300, and `seen` has each of them. For the gateway's own retries, timeouts, cache and logs, use the local gateway
 * (`effect-ai-gateway/local`).
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 * import { ScriptedPeer } from "effect-ai-gateway/testing"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5"))
 * const peer = ScriptedPeer.make({ openai: [{ status: 503 }], anthropic: [{ answer: "Saturn" }] })
 *
 * const { value } = await Effect.runPromise(
 *   Router.run(ask, "Which planet has the most moons?").pipe(
 *     Effect.provide(Router.layerWith({ execution: "client" })),
 *     Effect.provide(peer.layer)
 *   )
 * )
 * console.log(value.text) // Saturn
 * console.log(peer.seen.map(({ provider }) => provider).join()) // openai,anthropic
 * ```
 */
export const make = (script: Script = {}, options: Options = {}): ScriptedPeer => {
  const seen: Array<Seen> = []
  const interrupted: Array<Seen> = []
  const respond = responder(script)

  const play = (
    asked: Asked,
    more: Readonly<Record<string, string>>,
    orElse?: Effect.Effect<RawResponse, Reason>
  ): Effect.Effect<RawResponse, Reason> =>
    Effect.withFiber((fiber) => {
      const one: Mutable = {
        number: seen.length + 1,
        ...asked,
        model: modelOf(asked),
        at: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
        state: "waiting"
      }
      const given = respond(one)
      if (given === undefined && orElse !== undefined) return orElse
      seen.push(one)
      const end = (state: BodyEnd): void => {
        one.state = state
        if (state === "interrupted") interrupted.push(one)
      }
      const line = given ?? {}
      const [problem] = typeof script === "function" ? lineProblems(`script(${one.provider})`, line) : []
      if (problem !== undefined) {
        end("failed")
        return Effect.fail(new InvalidRequest({ origin: "client", ...problem }))
      }
      const { after, delay, headers, never, status = 200 } = line
      const answer = Effect.suspend((): Effect.Effect<RawResponse, Reason> => {
        if (line.reset === true) {
          end("failed")
          return Effect.fail(transportReason(reset(), []))
        }
        if (isRedirect(status)) {
          end("answered")
          return Effect.fail(redirected(status))
        }
        const { pieces, type } = answered(one, line)
        one.state = "streaming"
        // What comes in one piece has arrived with its headers.
        const isWhole = line.stream === undefined && pieces.length <= 1
        if (isWhole) end("answered")
        const base = { "content-type": type, "cf-aig-log-id": `log-${one.number}`, ...more }
        return Effect.succeed({
          status,
          headers: headers === undefined ? base : { ...base, ...lowered(headers) },
          body: bodyOf(pieces, fiber.context, isWhole ? () => {} : end),
          resent: false
        })
      })
      // No real answer comes in the turn that sent the request.
      let steps = never === true ? Effect.never : Effect.andThen(Effect.yieldNow, answer)
      if (after !== undefined) steps = Effect.andThen(after, steps)
      if (delay !== undefined) steps = Effect.andThen(Effect.sleep(toMillis(delay)), steps)
      return Effect.onInterrupt(steps, () => Effect.sync(() => end("interrupted")))
    })

  const walk = (legs: ReadonlyArray<Asked>, index: number): Effect.Effect<RawResponse, Reason> => {
    const leg = legs[index]
    if (leg === undefined) {
      return Effect.fail(new InvalidRequest({ origin: "gateway", field: "legs", accepted: "at least one leg" }))
    }
    const isLast = index === legs.length - 1
    return Effect.matchEffect(play(leg, { "cf-aig-step": String(index) }), {
      onFailure: (reason) => (isLast ? Effect.fail(reason) : walk(legs, index + 1)),
      onSuccess: (response) =>
        isLast || response.status < 300
          ? Effect.succeed(response)
          : Effect.flatMap(response.body.cancel, () => walk(legs, index + 1))
    })
  }

  const send: Send = (request) =>
    Effect.suspend(() => {
      const asked = askedOf(request)
      return play(asked, {}, asked.provider === "" ? walk(legsOf(asked), 0) : undefined)
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

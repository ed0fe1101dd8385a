/**
 * Sends requests to a script instead of a gateway.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { InvalidRequest, type Reason } from "../../GatewayError.ts"
import { isRecord, parseJson } from "../../internal/data/json.ts"
import type { RawResponse } from "../../internal/transport/body.ts"
import { isRedirect, type Outgoing, redirected, type Send, transportReason } from "../../internal/transport/request.ts"
import { type Answer, write } from "./answers.ts"
import { type BodyEnd, bodyOf, reset } from "./body.ts"
import { type Line, lineProblems, type Piece, toMillis } from "./line.ts"

/** A request that reached the peer. */
export interface Seen {
  /** Its position among all requests, from 1. */
  readonly number: number
  readonly provider: string
  /** The model named in the body or the path. */
  readonly model: string | undefined
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  /** When it arrived: milliseconds since the epoch, by the clock of the program. */
  readonly at: number
  /**
   * `waiting`: no headers yet. `streaming`: headers, and not yet the last piece. `interrupted`: the caller left.
   * `failed`: the connection broke.
   */
  readonly state: "waiting" | "streaming" | BodyEnd
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

/** Receives the progress of requests. */
export interface Listener {
  readonly arrived: (request: Seen) => void
  /** The request's state is final. */
  readonly ended: (request: Seen) => void
}

/** Makes a sender. `respond` finds the line of a request; `checks`: whether the lines still have to be checked. */
export const makeSend = (respond: (request: Seen) => Line | undefined, checks: boolean, listener: Listener): Send => {
  let count = 0

  const play = (
    asked: Asked,
    more: Readonly<Record<string, string>>,
    orElse?: Effect.Effect<RawResponse, Reason>
  ): Effect.Effect<RawResponse, Reason> =>
    Effect.withFiber((fiber) => {
      const one: Mutable = {
        number: count + 1,
        ...asked,
        model: modelOf(asked),
        at: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
        state: "waiting"
      }
      const given = respond(one)
      if (given === undefined && orElse !== undefined) return orElse
      count++
      listener.arrived(one)
      const end = (state: BodyEnd): void => {
        one.state = state
        listener.ended(one)
      }
      const line = given ?? {}
      const [problem] = checks ? lineProblems(`script(${one.provider})`, line) : []
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
        // A body in one piece has arrived with its headers.
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
      // No real answer arrives in the turn that sent the request.
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

  return (request) =>
    Effect.suspend(() => {
      const asked = askedOf(request)
      return play(asked, {}, asked.provider === "" ? walk(legsOf(asked), 0) : undefined)
    })
}

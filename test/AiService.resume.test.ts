/**
 * Streamed runs that are taken up again, against a service that breaks off where a test says so.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AiService from "effect-ai-gateway/AiService"
import * as Chat from "effect-ai-gateway/Chat"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as LocalGateway from "effect-ai-gateway/local"
import { maxResumes } from "../src/internal/ai/resume.ts"
import { cut } from "./fixtures/streams/drive.ts"
import { makeBinding } from "./support/bindingDouble.ts"
import { drive } from "./support/drive.ts"
import { settle } from "./support/streamResponses.ts"

const runId = "ab".repeat(32)
const model = "openai/gpt-4.1-mini"
const input = { messages: [{ role: "user", content: "Hi" }] }

const chunk = (content: string): string =>
  `data: ${JSON.stringify({ id: "c", model: "m", choices: [{ index: 0, delta: { content } }] })}\n\n`
const head = `: a comment\n\ndata: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n`
const tail = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n`
const answer = (...words: ReadonlyArray<string>): string => `${head}${words.map(chunk).join("")}${tail}`

/** How one connection goes: up to so many bytes of its own, then a break or an end that is none. */
interface Leg {
  readonly bytes: number
  readonly how: "error" | "end"
}

/** The behavior of the service when it does not resume. */
type Refusal = (url: URL) => Response | undefined

const bodyOf = (bytes: Uint8Array, leg: Leg | undefined, sizes: ReadonlyArray<number>): ReadableStream<Uint8Array> => {
  const sent = leg === undefined ? bytes : bytes.subarray(0, leg.bytes)
  const pieces = [...cut<Uint8Array>(sent, sizes)]
  return new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const piece = pieces.shift()
        if (piece !== undefined) return controller.enqueue(piece)
        if (leg?.how === "error") controller.error(new TypeError("terminated"))
        else controller.close()
      }
    },
    { highWaterMark: 0 }
  )
}

/** The bytes from an event on, as the reference has it: an event ends with two line feeds. */
const from = (whole: Uint8Array, events: number): Uint8Array => {
  let at = 0
  for (let left = events; left > 0; left--) {
    const end = Buffer.from(whole).indexOf("\n\n", at)
    if (end < 0) return new Uint8Array()
    at = end + 2
  }
  return whole.subarray(at)
}

/** A binding whose connections break as told, one leg after the other; without a leg they are whole. */
const service = (
  text: string,
  legs: ReadonlyArray<Leg>,
  options: { readonly sizes?: ReadonlyArray<number>; readonly refuse?: Refusal; readonly headers?: object } = {}
) => {
  const whole = new TextEncoder().encode(text)
  const left = [...legs]
  const seen: Array<string> = []
  const ai = makeBinding(async (request) => {
    const url = new URL(request.url)
    seen.push(`${request.method} ${url.pathname}${url.search}`)
    const resumed = url.searchParams.get("from")
    const refused = resumed === null ? undefined : options.refuse?.(url)
    if (refused !== undefined) return refused
    const bytes = resumed === null ? whole : from(whole, Number(resumed))
    return new Response(bodyOf(bytes, left.shift(), options.sizes ?? [64]), {
      headers: {
        "content-type": "text/event-stream",
        "cf-aig-run-id": runId,
        "cf-aig-log-id": "log-1",
        ...options.headers
      }
    })
  })
  return { ai, seen, resumes: () => seen.slice(1) }
}

interface Seen {
  readonly deltas: ReadonlyArray<Chat.Delta>
  readonly text: string
  readonly error: GatewayError | undefined
  readonly trail: ReadonlyArray<LogTrail.Attempt>
}

const consume = (
  ai: AiService.AiBinding,
  options: AiService.StreamOptions = { resume: true }
): Effect.Effect<Seen, GatewayError> =>
  Effect.gen(function* () {
    const deltas: Array<Chat.Delta> = []
    const { attempts: trail, value: exit } = yield* LogTrail.collect(
      Effect.exit(
        Stream.runForEach(AiService.stream(model, input, options), (delta) =>
          Effect.sync(() => void deltas.push(delta))
        )
      )
    )
    return {
      deltas,
      text: deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""),
      error: Option.getOrUndefined(Exit.findErrorOption(exit)),
      trail
    }
  }).pipe(Effect.provide(AiService.layerBinding(ai)))

/**
 * The same deltas; when a connection ended after the finish, as some servers do, the usage behind it may be missing.
 */
const assertSame = (seen: Seen, plain: Seen, legs: ReadonlyArray<Leg>): void => {
  const ended = legs.some(({ how }) => how === "end") && seen.deltas.at(-1)?.type === "finish"
  assert.deepStrictEqual(seen.deltas, ended ? plain.deltas.slice(0, -1) : plain.deltas, JSON.stringify(legs))
}

const resumeAt = (n: number, gateway = "default"): string =>
  `GET /ai-gateway/gateways/${gateway}/run/${runId}/resume?from=${n}`

const text = answer("one ", "two ", "three ", "four ")
const until = (mark: string): number => text.indexOf(mark) + mark.length
const broken = (mark: string, how: Leg["how"] = "error"): Leg => ({ bytes: until(mark), how })

describe("a run that breaks off", () => {
  it.effect("goes on after the last whole event, as if nothing had been", () =>
    Effect.gen(function* () {
      const plain = yield* consume(service(text, []).ai)
      for (const how of ["error", "end"] as const) {
        const { ai, resumes } = service(text, [broken('"two ', how)])
        const seen = yield* consume(ai)
        assert.deepStrictEqual(seen.deltas, plain.deltas)
        assert.isUndefined(seen.error)
        // The comment and the head are events too; of the fourth only a part had come.
        assert.deepStrictEqual(resumes(), [resumeAt(3)])
        assert.deepStrictEqual(
          seen.trail.map(({ logId, outcome, status }) => [outcome, status, logId]),
          [["success", 200, "log-1"]]
        )
      }
    })
  )

  it.effect("asks the gateway of the run", () =>
    Effect.gen(function* () {
      const { ai, resumes } = service(text, [broken('"two ')])
      assert.isUndefined((yield* consume(ai, { resume: true, gateway: "gw" })).error)
      assert.deepStrictEqual(resumes(), [resumeAt(3, "gw")])
    })
  )

  it.effect("at any byte, in pieces of any size: the same deltas", () =>
    Effect.gen(function* () {
      const words = answer("Grüße ", "👋🏽 an ", "alle")
      const { length } = new TextEncoder().encode(words)
      const plain = yield* consume(service(words, []).ai)
      const first = words.indexOf("Gr")
      for (let bytes = 0; bytes <= length; bytes++) {
        const leg: Leg = { bytes, how: bytes % 2 === 0 ? "error" : "end" }
        const { ai, seen } = service(words, [leg], { sizes: [(bytes % 7) + 1] })
        const resumed = yield* consume(ai)
        if (resumed.error === undefined) assertSame(resumed, plain, [leg])
        else {
          // Before the first event with text there is nothing to save.
          assert.isBelow(bytes, first + 30)
          assert.strictEqual(seen.length, 1)
        }
      }
    })
  )

  it.effect.prop(
    "up to three times, whatever the line ends, the pieces and the breaks are",
    {
      words: Schema.NonEmptyArray(Schema.String).check(Schema.isMaxLength(6)),
      ends: Schema.Array(Schema.Literals(["\n\n", "\r\n\r\n", "\n\n: a comment\n\n", "\n\n\n", "\n\n\n\n"])),
      cuts: Schema.Array(Schema.Struct({ at: Schema.Natural, how: Schema.Literals(["error", "end"]) })),
      sizes: Schema.Array(Schema.Natural.check(Schema.isLessThan(40)))
    },
    ({ cuts, ends, sizes, words }) =>
      Effect.gen(function* () {
        const blocks = answer("begin", ...words)
          .split("\n\n")
          .slice(0, -1)
        const body = blocks.map((block, i) => block + (ends[i % Math.max(1, ends.length)] ?? "\n\n")).join("")
        const begun = body.indexOf("begin") + 40
        const { length } = new TextEncoder().encode(body)
        const legs = cuts.slice(0, maxResumes).map(({ at, how }, i): Leg => {
          // The first connection gets beyond the first delta.
          const least = i === 0 ? Math.min(begun, length) : 0
          return { bytes: least + (at % (length - least + 1)), how }
        })
        const plain = yield* consume(service(body, []).ai)
        assert.isUndefined(plain.error)
        const { exit } = yield* drive(consume(service(body, legs, { sizes }).ai))
        const seen = yield* exit
        if (seen.error === undefined) assertSame(seen, plain, legs)
        else {
          // Only when nothing new came after a resume that then ended.
          assert.isTrue(legs.slice(1).some(({ how }) => how === "end"))
          assert.deepStrictEqual(seen.deltas, plain.deltas.slice(0, seen.deltas.length))
        }
      }),
    { arbitrary: { runs: 200, seed: 51 } }
  )

  it.effect("a fourth time, it stays broken", () =>
    Effect.gen(function* () {
      const legs = ['"one ', '"two ', '"three ', '"four '].map((mark) => broken(mark))
      // Each connection begins later, so each may send more.
      const { ai, resumes } = service(
        text,
        legs.map(({ how }, i) => ({ how, bytes: i === 0 ? until('"two ') : chunk("two ").length + 20 }))
      )
      const { error, text: said } = yield* consume(ai)
      assert.strictEqual(resumes().length, maxResumes)
      assert.strictEqual(maxResumes, 3)
      assert.strictEqual(error?.method, "AiService.stream")
      assert.deepInclude(error?.reason, { _tag: "StreamInterrupted", failure: "TransportFailure", partial: said })
      assert.isTrue("one two three four ".startsWith(said))
    })
  )

  it.effect("a finished answer is asked for again only for the usage that a break takes from it", () =>
    Effect.gen(function* () {
      const finished = '"finish_reason":"stop"}]}\n\n'
      const usageOf = (mark: string, how: Leg["how"]) => {
        const { ai, resumes } = service(text, [broken(mark, how)])
        return Effect.map(consume(ai), ({ deltas }) => [
          Result.getOrThrow(Chat.collect(deltas)).usage.outputTokens,
          resumes().length
        ])
      }
      assert.deepStrictEqual(yield* usageOf(finished, "error"), [2, 1])
      assert.deepStrictEqual(yield* usageOf(finished, "end"), [undefined, 0])
      assert.deepStrictEqual(yield* usageOf("[DONE]\n\n", "error"), [2, 0])
    })
  )

  it.effect("an error in the stream is the answer's own", () =>
    Effect.gen(function* () {
      const failed = `${head}${chunk("one ")}data: {"error":{"message":"overloaded","type":"server_error"}}\n\n`
      const { ai, resumes } = service(failed, [])
      const { error } = yield* consume(ai)
      assert.strictEqual(error?.reason._tag, "StreamInterrupted")
      assert.deepStrictEqual(resumes(), [])
    })
  )
})

describe("a run that cannot be taken up", () => {
  const cutAt = [broken('"two ')]

  const interrupted = Effect.fnUntraced(function* (
    made: ReturnType<typeof service>,
    options?: AiService.StreamOptions
  ): Effect.fn.Return<number, GatewayError> {
    const { exit } = yield* drive(consume(made.ai, options))
    const { deltas, error, text, trail } = yield* exit
    assert.deepInclude(error?.reason, { _tag: "StreamInterrupted", failure: "TransportFailure", partial: "one " })
    assert.strictEqual(error?.reason._tag === "StreamInterrupted" && error.reason.events, deltas.length)
    assert.strictEqual(text, "one ")
    assert.strictEqual(error?.logId, "log-1")
    assert.deepStrictEqual(
      trail.map(({ outcome }) => outcome),
      ["failure"]
    )
    return made.resumes().length
  })

  it.effect("because the caller did not request it", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* interrupted(service(text, cutAt), {}), 0)
      assert.strictEqual(yield* interrupted(service(text, cutAt), { resume: false }), 0)
    })
  )

  it.effect("because it has no id, or none that could be asked for", () =>
    Effect.gen(function* () {
      for (const id of ["", "a/../b", "a?b", "a b", "x".repeat(129)]) {
        assert.strictEqual(yield* interrupted(service(text, cutAt, { headers: { "cf-aig-run-id": id } })), 0)
      }
    })
  )

  it.effect("because it is not kept any more", () =>
    Effect.gen(function* () {
      const refuse = () => Response.json({ error: "Request not found" }, { status: 404 })
      assert.strictEqual(yield* interrupted(service(text, cutAt, { refuse })), 1)
    })
  )

  it.effect("because the service refuses", () =>
    Effect.gen(function* () {
      const refuse = () => Response.json({ success: false, errors: [{ code: 10000, message: "no" }] }, { status: 403 })
      assert.strictEqual(yield* interrupted(service(text, cutAt, { refuse })), 1)
    })
  )

  it.effect("because the service stays away: three tries, and waits between them", () =>
    Effect.gen(function* () {
      const refuse = () => new Response("busy", { status: 503 })
      const startedAt = yield* Clock.currentTimeMillis
      assert.strictEqual(yield* interrupted(service(text, cutAt, { refuse })), 3)
      assert.strictEqual((yield* Clock.currentTimeMillis) - startedAt, 200 + 400 + 800)
    })
  )

  it.effect("because it is another answer", () =>
    Effect.gen(function* () {
      const other = new TextEncoder().encode(answer("uno ", "dos ", "tres "))
      const refuse: Refusal = (url) =>
        new Response(new Uint8Array(from(other, Number(url.searchParams.get("from")))), {
          headers: { "content-type": "text/event-stream" }
        })
      assert.strictEqual(yield* interrupted(service(text, cutAt, { refuse })), 1)
    })
  )

  it.effect("because it is no stream", () =>
    Effect.gen(function* () {
      const refuse = () => Response.json({ choices: [] })
      assert.strictEqual(yield* interrupted(service(text, [broken(chunk("one "))], { refuse })), 1)
    })
  )

  it.effect("because it had not begun: then it fails like one that is not streamed", () =>
    Effect.gen(function* () {
      for (const how of ["error", "end"] as const) {
        const { ai, resumes } = service(text, [broken(head, how)])
        const { error } = yield* consume(ai)
        assert.strictEqual(error?.reason._tag, how === "error" ? "TransportFailure" : "InvalidResponse")
        assert.deepStrictEqual(resumes(), [])
      }
    })
  )

  it.effect("because nothing more comes: the break was the end", () =>
    Effect.gen(function* () {
      const cutBetween = { bytes: until(chunk("one ")), how: "end" } as const
      const { ai, resumes } = service(text, [cutBetween], {
        refuse: () => new Response("", { headers: { "content-type": "text/event-stream" } })
      })
      const { error } = yield* consume(ai)
      assert.deepInclude(error?.reason, { _tag: "StreamInterrupted", failure: "InvalidResponse", partial: "one " })
      assert.strictEqual(resumes().length, 1)
    })
  )

  it.effect("a service that comes back is used", () =>
    Effect.gen(function* () {
      let refused = 0
      const { ai, resumes } = service(text, cutAt, {
        refuse: () => (refused++ < 2 ? new Response("busy", { status: 503 }) : undefined)
      })
      const { exit, millis } = yield* drive(consume(ai))
      assert.strictEqual((yield* exit).text, "one two three four ")
      assert.deepStrictEqual([resumes().length, millis], [3, 600])
    })
  )
})

describe("interruption", () => {
  it.effect("while the run is asked for again aborts that request", () =>
    Effect.gen(function* () {
      const whole = service(text, [broken('"two ')])
      const aborted: Array<string> = []
      const ai = makeBinding((request) => {
        const url = new URL(request.url)
        if (!url.searchParams.has("from")) return whole.ai.fetch(request)
        return new Promise(() => {
          request.signal.addEventListener("abort", () => aborted.push(url.pathname))
        })
      })
      const fiber = yield* Effect.forkChild(consume(ai))
      yield* Effect.repeat(settle, { times: 10 })
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(aborted.length, 1)
    })
  )
})

describe("AiService.resume", () => {
  it.effect("is there over a binding that can fetch, and refuses what would change the address", () =>
    Effect.gen(function* () {
      const { ai, seen } = service(text, [])
      const { resume } = yield* Effect.provide(AiService.AiService, AiService.layerBinding(ai))
      if (resume === undefined) throw new Error("no resume")
      const field = (self: Effect.Effect<unknown, GatewayError>) =>
        Effect.map(Effect.flip(self), ({ reason }) => (reason._tag === "InvalidRequest" ? reason.field : reason._tag))
      assert.strictEqual(yield* field(resume("a/b", 0)), "runId")
      assert.strictEqual(yield* field(resume(runId, -1)), "from")
      assert.strictEqual(yield* field(resume(runId, 1.5)), "from")
      assert.strictEqual(yield* field(resume(runId, 0, "a/b")), "gateway")
      assert.deepStrictEqual(seen, [])
      assert.strictEqual(
        yield* Effect.flatMap(resume(runId, 3), ({ text }) => text),
        text
          .split(/(?<=\n\n)/)
          .slice(3)
          .join("")
      )
    })
  )

  it.effect("is not there without", () =>
    Effect.gen(function* () {
      const { ai } = service(text, [])
      const without: AiService.AiBinding = {
        run: (model, inputs, options) => ai.run(model, inputs, options),
        models: () => ai.models(),
        gateway: (id) => ai.gateway(id)
      }
      assert.isUndefined((yield* Effect.provide(AiService.AiService, AiService.layerBinding(without))).resume)
      const overHttp = yield* Effect.provide(AiService.AiService, LocalGateway.layer())
      assert.isUndefined(overHttp.resume)
      // The stream is then as it would be anyway.
      const broken = service(text, [{ bytes: until('"two '), how: "error" }])
      const seen = yield* consume({ ...without, run: (...args) => broken.ai.run(...args) })
      assert.strictEqual(seen.error?.reason._tag, "StreamInterrupted")
    })
  )
})

describe("the local gateway", () => {
  it.effect("keeps runs that its client loses", () =>
    Effect.gen(function* () {
      const local = yield* LocalGateway.make()
      const context = yield* Effect.context()
      const ai = makeBinding((request) =>
        Effect.runPromiseWith(context)(
          Effect.mapError(local.handle(request), () => new Error("Network connection lost.")),
          { signal: request.signal }
        )
      )
      yield* local.script("openai", [{ stream: { dropAfter: { deltas: 3 } } }, { ok: true }])
      const options = { resume: true, gateway: "default" }
      const dropped = yield* consume(ai, options)
      const whole = yield* consume(ai, options)
      assert.isUndefined(dropped.error)
      const replies = [dropped, whole].map(({ deltas }) => Result.getOrThrow(Chat.collect(deltas)))
      assert.deepStrictEqual({ ...replies[0], id: "" }, { ...replies[1], id: "" })
      assert.strictEqual((yield* local.calls).length, 2)
    }).pipe(Effect.provide(Layer.empty))
  )
})

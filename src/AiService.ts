/**
 * `env.AI` as a service: run models, search the catalogue, reach the gateways of the account.
 *
 * `run` accepts the model names of Cloudflare's catalogue, and Cloudflare supplies the credentials. To speak to a
 * provider in its own dialect with your own key, use `GatewayService`. This service neither retries nor falls back; the
 * router does.
 */
import * as Cache from "effect/Cache"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type GatewayError, InvalidResponse, invalid } from "./GatewayError.ts"
import type * as GatewayOptions from "./GatewayOptions.ts"
import type { GatewayResponse } from "./GatewayResponse.ts"
import { endedOf, type GatewayService, make as makeGateway } from "./GatewayService.ts"
import {
  type AiBackend,
  type AiTarget,
  defaultGateway,
  isPlain,
  isRunId,
  prepare,
  targetOf
} from "./internal/ai/backend.ts"
import * as Binding from "./internal/ai/binding.ts"
import * as Http from "./internal/ai/http.ts"
import { counted, dialectOf, openDeltas, renamed } from "./internal/ai/stream.ts"
import { defined } from "./internal/data/defined.ts"
import { isRecord } from "./internal/data/json.ts"
import { monotonicMillisOf } from "./internal/data/monotonic.ts"
import { trimSlashes } from "./internal/data/trimSlashes.ts"
import type { Delta, Streaming } from "./internal/dialect/delta.ts"
import { answerAttributes, linkHeaders, requestAttributes } from "./internal/gateway/attributes.ts"
import { checkId, checkMaxBytes } from "./internal/gateway/backend.ts"
import { checkHttp } from "./internal/gateway/http.ts"
import { failure } from "./internal/gateway/respond.ts"
import { fromPuller } from "./internal/hotpath/pullStream.ts"
import { type OpenSpan, openSpan, operation, withSpan } from "./internal/hotpath/span.ts"
import { type AiBinding, requireMethods } from "./internal/transport/binding.ts"
import { type HttpClient, sender } from "./internal/transport/httpClient.ts"
import * as LogTrail from "./LogTrail.ts"
import type { Headers } from "./UniversalRequest.ts"

/**
 * Options of one {@link AiService.run}: its destination, and the gateway options there.
 *
 * @category models
 */
export interface RunOptions extends GatewayOptions.Input {
  /**
   * Id of the gateway. Without it a Workers AI model bypasses all gateways, and a third-party model uses the account's
   * gateway `default`. A dynamic route needs its own gateway, and gateway options have an effect only with a gateway.
   */
  readonly gateway?: string | undefined
  /**
   * Whether the call is recorded in `LogTrail`. Set `false` in a router that records its own attempts. Default `true`.
   */
  readonly record?: boolean | undefined
  /** At most 5 tags of 1 to 50 letters, digits and `: - . / @`. Over the binding only. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** Further request headers, names in lower case; credentials may stay `Redacted`. */
  readonly headers?: Headers | undefined
  /**
   * Workers AI only: queues `{ requests: […] }` as a batch and answers with a `request_id` for polling. Default
   * `false`.
   */
  readonly queueRequest?: boolean | undefined
  /** Workers AI only: fails with `RateLimited` when the model has no capacity, instead of waiting. Default `false`. */
  readonly rejectIfBusy?: boolean | undefined
  /** Workers AI over the binding only: prefix of the model's name. 1 to 64 letters, digits, `.`, `_` and `-`. */
  readonly prefix?: string | undefined
  /**
   * Workers AI only: runs of one session reach the replica that has cached their prompt. At most 256 printable
   * characters.
   */
  readonly sessionAffinity?: string | undefined
}

/**
 * Filters of {@link AiService.models}.
 *
 * @category models
 */
export interface ModelsQuery {
  readonly author?: string | undefined
  readonly hideExperimental?: boolean | undefined
  /** 1 or more. */
  readonly page?: number | undefined
  /** 1 or more. */
  readonly perPage?: number | undefined
  /** Part of a name or a description. */
  readonly search?: string | undefined
  /** Id of a source. */
  readonly source?: number | undefined
  /** Name of a task, for example `Text Generation`. */
  readonly task?: string | undefined
}

/**
 * A model of the catalogue.
 *
 * @category models
 */
export interface Model {
  readonly id: string
  /** Name that {@link AiService.run} accepts, for example `@cf/meta/llama-3.1-8b-instruct`. */
  readonly name: string
  readonly description?: string
  readonly source?: number
  /** Name of the task, for example `Text Generation`. */
  readonly task?: string
  readonly tags: ReadonlyArray<string>
  /** For example `context_window`; values as the catalogue has them. */
  readonly properties: Readonly<Record<string, unknown>>
}

/**
 * `env.AI`, over the binding or over HTTP.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * export const ask = Effect.gen(function*() {
 *   const ai = yield* AiService.AiService
 *   const response = yield* ai.run(
 *     "openai/gpt-4.1-mini",
 *     { messages: [{ role: "user", content: "Hello" }] },
 *     { gateway: "my-gateway", metadata: { team: "support" } }
 *   )
 *   return { answer: yield* response.result, logId: response.meta.logId }
 * })
 * ```
 *
 * @category services
 */
export class AiService extends Context.Service<
  AiService,
  {
    /**
     * Runs a model: `@cf/author/model` (Workers AI), `author/model` (third party) or `dynamic/route`. Succeeds with a
     * 2xx answer whose body is unread; `result` reads it without Cloudflare's envelopes. Every other outcome is a typed
     * failure.
     *
     * `meta.logId` belongs to this answer or is absent. Over the binding the request goes through the binding's own
     * `fetch`, which shares no state with `env.AI.run` elsewhere in the isolate. Inputs with a stream, and bindings
     * without `fetch`, go through `run`: the id is then absent when such a call overlaps.
     */
    readonly run: (model: string, input: object, options?: RunOptions) => Effect.Effect<GatewayResponse, GatewayError>
    /** One page of the catalogue. */
    readonly models: (query?: ModelsQuery) => Effect.Effect<ReadonlyArray<Model>, GatewayError>
    /** A gateway of the account, over the same transport. Fails with `InvalidRequest` when the id is malformed. */
    readonly gateway: (id: string) => Effect.Effect<GatewayService["Service"], GatewayError>
    /**
     * Resumes a streamed run of a third-party model: the bytes of its answer from event `from` on, counted from 0.
     * Experimental, as at Cloudflare. `runId` is the `meta.runId` of the answer, `gateway` that of the run (default:
     * `default`). Fails with `NotFound` when Cloudflare no longer keeps the run, which is after about five minutes.
     * Absent over HTTP, where the transport cannot resume. {@link stream} uses it.
     */
    readonly resume?: (runId: string, from: number, gateway?: string) => Effect.Effect<GatewayResponse, GatewayError>
  }
>()("effect-ai-gateway/AiService") {}

const text = (u: unknown): string | undefined => (typeof u === "string" ? u : undefined)
const list = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

/** Decodes a model; only its id and its name are required. */
const modelFromWire = (wire: unknown): Model | undefined => {
  if (!isRecord(wire) || typeof wire["id"] !== "string" || typeof wire["name"] !== "string") return undefined
  const { description, id, name, properties, source, tags, task } = wire
  return {
    id,
    name,
    ...defined({
      description: text(description),
      source: typeof source === "number" ? source : undefined,
      task: text(isRecord(task) ? task["name"] : undefined)
    }),
    tags: list(tags).filter((tag) => typeof tag === "string"),
    properties: Object.fromEntries(
      list(properties).flatMap((property) =>
        isRecord(property) && typeof property["property_id"] === "string"
          ? [[property["property_id"], property["value"]]]
          : []
      )
    )
  }
}

const isPage = (n: number | undefined): boolean => n === undefined || (Number.isInteger(n) && n >= 1)

const startedOf = (target: AiTarget, { eventId, gateway }: RunOptions): LogTrail.Started => ({
  target: `${gateway === undefined ? "" : `${gateway}:`}${target.provider}/${target.model}`,
  provider: target.provider,
  model: target.model,
  endpoint: "run",
  ...defined({ eventId })
})

/** Makes the service from a transport. */
const make = (backend: AiBackend) =>
  Effect.gen(function* () {
    // One service per gateway, so that its memory (see `getUrl`) outlives a request.
    const gateways = yield* Cache.make({
      capacity: 64,
      lookup: (id: string) => makeGateway(id, backend.gateway(id))
    })

    const runUntraced = Effect.fnUntraced(function* (
      model: string,
      input: object,
      options: RunOptions,
      span: OpenSpan | undefined
    ): Effect.fn.Return<GatewayResponse, GatewayError> {
      const request = yield* prepare("AiService.run", model, input, options)
      const { gateway, headers, target } = request
      const { eventId } = request.options
      span?.annotate(requestAttributes(target.provider, model, input, target.model, gateway, eventId))
      // A Workers AI model may bypass all gateways.
      const isLinked = gateway !== undefined || target.kind === "third-party"
      const link = span && isLinked ? linkHeaders(span, [request]) : undefined
      const sent = backend.run(link ? { ...request, headers: { ...link, ...headers } } : request, "AiService.run")
      const response = yield* options.record === false
        ? sent
        : LogTrail.record(sent, startedOf(target, options), (exit) => endedOf(exit, []))
      span?.annotate(answerAttributes(response))
      return response
    })
    const run: AiService["Service"]["run"] = (model, input, options = {}) =>
      withSpan("AiService.run", "client", (span) => runUntraced(model, input, options, span))

    const models = operation(
      "AiService.models",
      Effect.fnUntraced(function* (query: ModelsQuery = {}) {
        for (const field of ["page", "perPage"] as const) {
          if (!isPage(query[field])) return yield* invalid("AiService.models", field, "a whole number of 1 or more")
        }
        const { author, hideExperimental, page, perPage, search, source, task } = query
        const wire = yield* backend.models(
          defined({ author, hide_experimental: hideExperimental, page, per_page: perPage, search, source, task })
        )
        const found = Array.isArray(wire) ? wire.map(modelFromWire) : [undefined]
        const out = found.filter((model) => model !== undefined)
        if (out.length === found.length) return out
        return yield* failure(
          { method: "AiService.models", surface: "api", secrets: [] },
          new InvalidResponse({ issue: "not a list of models with ids and names" })
        )
      })
    )

    const gateway: AiService["Service"]["gateway"] = (id) =>
      withSpan("AiService.gateway", "internal", () =>
        Effect.andThen(checkId("AiService.gateway", "id", id), Cache.get(gateways, id))
      )

    const resumeRun = backend.resume
    if (resumeRun === undefined) return AiService.of({ run, models, gateway })

    const resume = operation(
      "AiService.resume",
      Effect.fnUntraced(function* (runId: string, from: number, id = defaultGateway) {
        if (!isRunId(runId)) return yield* invalid("AiService.resume", "runId", "1 to 128 letters, digits, `_` and `-`")
        if (!Number.isSafeInteger(from) || from < 0) {
          return yield* invalid("AiService.resume", "from", "a whole number from 0")
        }
        yield* checkId("AiService.resume", "gateway", id)
        return yield* resumeRun({ gateway: id, runId }, from, "AiService.resume")
      })
    )

    return AiService.of({ run, models, gateway, resume })
  })

/**
 * Options of one {@link stream}.
 *
 * @category models
 */
export interface StreamOptions extends RunOptions {
  /**
   * Decodes the events instead of the model's own dialect; receives the body of the request. An answer in one piece is
   * passed to it as one event.
   */
  readonly decoder?: Streaming["decoder"] | undefined
  /**
   * Experimental: resumes the run when its connection breaks after the first delta, at most three times. No event is
   * delivered twice. Works over the binding with third-party models while Cloudflare keeps the run, about five minutes.
   * Otherwise the stream breaks as it would without this option. Default `false`.
   */
  readonly resume?: boolean | undefined
}

/**
 * Runs a chat model and streams its answer as deltas, as they arrive.
 *
 * `input` is the body that the model's provider accepts. The function adds `stream: true`, and for OpenAI's models and
 * dynamic routes a request for the usage, unless `input.stream_options` is present.
 *
 * The name selects the dialect: Workers AI for `@cf/…`, Anthropic's events for `anthropic/…`, OpenAI's chunks for all
 * others. An answer in one piece, as guardrails produce it, becomes deltas too. The stream ends only after the answer's
 * finish. Before the first delta of text, reasoning or a tool call it fails like {@link AiService.run}; after it, with
 * a `StreamInterrupted` that contains what had arrived. Pulls only what is consumed; ending early or being interrupted
 * aborts the request. `LogTrail` has one attempt, which ends with the stream. Nothing is retried: use `Router.stream`
 * for that.
 *
 * @example
 * ```ts
 * import * as Stream from "effect/Stream"
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * export const words = AiService.stream(
 *   "anthropic/claude-haiku-4.5",
 *   { max_tokens: 200, messages: [{ role: "user", content: "What is a fiber?" }] },
 *   { gateway: "my-gateway" }
 * ).pipe(
 *   Stream.filter((delta) => delta.type === "text"),
 *   Stream.map((delta) => delta.text)
 * )
 * ```
 *
 * @category running
 */
export const stream = (
  model: string,
  input: object,
  options: StreamOptions = {}
): Stream.Stream<Delta, GatewayError, AiService> =>
  Stream.unwrap(
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const span = openSpan(fiber, "AiService.stream", "internal")
        const opening = openStream(model, input, options, restore, span)
        return span === undefined
          ? opening
          : Effect.onError(opening, (cause) => Effect.sync(() => span.end(Exit.failCause(cause))))
      })
    )
  )

const openStream = Effect.fnUntraced(function* (
  model: string,
  input: object,
  options: StreamOptions,
  restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>,
  span: OpenSpan | undefined
): Effect.fn.Return<Stream.Stream<Delta, GatewayError>, GatewayError, AiService | Scope.Scope> {
  const method = "AiService.stream"
  const { decoder, resume, ...runOptions } = options
  const { resume: resumeRun, run } = yield* AiService
  const target = targetOf(model)
  const dialect = dialectOf(target)
  // `run` rejects an input that is not a plain object, and a name that is not a model's.
  const query = isPlain(input) ? dialect.query(input) : undefined
  if (isPlain(input) && input["stream"] !== undefined && input["stream"] !== true) {
    return yield* invalid(method, "input.stream", "true, or nothing")
  }
  const running =
    options.record === false || target === undefined ? undefined : yield* LogTrail.begin(startedOf(target, options))
  let answered: GatewayResponse | undefined
  // A resumed run is part of this span too, wherever the stream is read.
  const within = span?.within ?? ((self) => self)
  const clock = yield* Clock.Clock
  let waitedSince = span && monotonicMillisOf(clock)
  if (target !== undefined) {
    const { provider } = target
    span?.annotate({
      ...requestAttributes(provider, model, input, target.model, options.gateway, options.eventId),
      "gen_ai.request.stream": true
    })
  }
  const end = (exit: Exit.Exit<unknown, GatewayError>): void => {
    span?.end(exit)
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    // Nothing was sent, so there was no attempt.
    if (error?.reason._tag === "InvalidRequest" && error.reason.origin === "client") return
    running?.end(exit, {
      ...(error !== undefined && endedOf(Exit.fail(error), [])),
      ...(answered !== undefined && endedOf(Exit.succeed(answered), []))
    })
  }
  const asked = within(run(model, query ?? input, { ...runOptions, record: false }))
  const opening = Effect.flatMap(asked, (response) => {
    answered = response
    span?.annotate(answerAttributes(response))
    const { runId } = response.meta
    return openDeltas(response, {
      query: query ?? {},
      dialect,
      decoder,
      resume:
        resume === true && resumeRun !== undefined && runId !== undefined
          ? (from) => within(resumeRun(runId, from, options.gateway))
          : undefined
    })
  })
  const pump = yield* restore(opening).pipe(
    Effect.onError((cause) => {
      end(Exit.failCause(cause))
      return answered?.cancel ?? Effect.void
    }),
    Effect.mapError((error) => renamed(method, error))
  )
  const answer = counted(method, pump)
  span?.atEnd(answer.attributes)
  yield* Effect.addFinalizer(() => {
    end(answer.finished() ? Exit.void : Exit.interrupt())
    return pump.cancel
  })
  const next = Effect.onExit(answer.next, (exit) => {
    if (Exit.isFailure(exit) || exit.value === undefined) end(exit)
    else if (waitedSince !== undefined && exit.value.length > 0) {
      const toFirst = (monotonicMillisOf(clock) - waitedSince) / 1000
      span?.annotate({ "gen_ai.response.time_to_first_chunk": toFirst })
      waitedSince = undefined
    }
    return Effect.void
  })
  return fromPuller(() => ({ next, cancel: Effect.void }))
})

/**
 * Options of {@link layerHttp}.
 *
 * @category models
 */
export type HttpOptions = Http.AiHttpOptions

/**
 * The service over Cloudflare's REST API, through any `HttpClient`. Fails with `InvalidRequest` when an id, token or
 * URL is malformed.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import * as Redacted from "effect/Redacted"
 * import * as AiService from "effect-ai-gateway/AiService"
 * import * as Transport from "effect-ai-gateway/Transport"
 *
 * export const Live = AiService.layerHttp({
 *   accountId: "0123456789abcdef",
 *   apiToken: Redacted.make("...")
 * }).pipe(Layer.provide(Transport.layerFetch))
 * ```
 *
 * @category layers
 */
export const layerHttp = (options: HttpOptions): Layer.Layer<AiService, GatewayError, HttpClient> =>
  Layer.effect(
    AiService,
    Effect.gen(function* () {
      yield* checkHttp("AiService.layerHttp", options)
      return yield* make(Http.makeBackend(options, yield* sender))
    })
  )

/**
 * {@link layerHttp} from the environment: `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_API_TOKEN`; optional `CF_AIG_TOKEN`
 * (the token of gateways), `AI_GATEWAY_URL` (another base URL, with or without `/v1/{account}` and a gateway),
 * `CLOUDFLARE_API_URL` and `AI_GATEWAY_MAX_ANSWER_BYTES`. Fails with `ConfigError` when one is missing.
 *
 * @category layers
 */
export const layerConfig: Layer.Layer<AiService, GatewayError | Config.ConfigError, HttpClient> = Layer.unwrap(
  Effect.gen(function* () {
    const accountId = yield* Config.String("CLOUDFLARE_ACCOUNT_ID")
    const apiToken = yield* Config.Redacted("CLOUDFLARE_API_TOKEN")
    const token = yield* Config.option(Config.Redacted("CF_AIG_TOKEN"))
    const url = yield* Config.option(Config.String("AI_GATEWAY_URL"))
    const apiUrl = yield* Config.option(Config.String("CLOUDFLARE_API_URL"))
    const maxAnswerBytes = yield* Config.option(Config.Int("AI_GATEWAY_MAX_ANSWER_BYTES"))
    // One environment also serves `GatewayService.layerConfig`, where the URL may name the gateway.
    const withoutAccount = (text: string): string => {
      const base = trimSlashes(text)
      const at = base.lastIndexOf(`/v1/${accountId}`)
      const rest = at < 0 ? undefined : base.slice(at + `/v1/${accountId}`.length)
      return rest !== undefined && /^(?:\/[^/]+)?$/.test(rest) ? base.slice(0, at) : base
    }
    return layerHttp({
      accountId,
      apiToken,
      token: Option.getOrUndefined(token),
      baseUrl: Option.getOrUndefined(Option.map(url, withoutAccount)),
      apiBaseUrl: Option.getOrUndefined(apiUrl),
      maxAnswerBytes: Option.getOrUndefined(maxAnswerBytes)
    })
  })
)

/**
 * Options of {@link layerBinding}.
 *
 * @category models
 */
export type BindingOptions = Pick<HttpOptions, "maxAnswerBytes">

/**
 * The service over the Workers binding. Fails with `BindingMissing` when `ai` is not there or lacks a method.
 *
 * @example
 * ```ts
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * declare const env: { readonly AI: AiService.AiBinding }
 * export const Live = AiService.layerBinding(env.AI)
 * ```
 *
 * @category layers
 */
export const layerBinding = (ai: AiBinding, options: BindingOptions = {}): Layer.Layer<AiService, GatewayError> =>
  Layer.effect(
    AiService,
    Effect.gen(function* () {
      yield* requireMethods("AiService.layerBinding", ai, ["run", "models", "gateway"])
      yield* checkMaxBytes("AiService.layerBinding", options.maxAnswerBytes)
      return yield* make(Binding.makeBackend(ai, options.maxAnswerBytes))
    })
  )

export type { AiBinding, GatewayBinding } from "./internal/transport/binding.ts"

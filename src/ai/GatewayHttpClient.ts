/**
 * An `HttpClient` for the clients of single providers, such as `@effect/ai-openai` and `@effect/ai-anthropic`: their
 * requests go through the gateway, which logs, caches and limits them.
 *
 * Only the address changes. Requests, replies and errors stay those of the provider's client, so there is no route: no
 * fallback, no retry, no breaker. For these, use `GatewayLanguageModel`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { type GatewayError, invalid } from "../GatewayError.ts"
import * as GatewayOptions from "../GatewayOptions.ts"
import { metaFromHeaders } from "../GatewayResponse.ts"
import { GatewayService } from "../GatewayService.ts"
import { baseUrlAccepted, isBaseUrl } from "../internal/data/baseUrl.ts"
import { defined } from "../internal/data/defined.ts"
import { isHeaderValue } from "../internal/data/headers.ts"
import { isObject, strayField } from "../internal/data/json.ts"
import { shownEndpoint } from "../internal/data/secrets.ts"
import { trimSlashes } from "../internal/data/trimSlashes.ts"
import { guarded } from "../internal/transport/httpClient.ts"
import * as LogTrail from "../LogTrail.ts"
import * as UniversalRequest from "../UniversalRequest.ts"
import { optionsProblem } from "./call.ts"
import * as GatewayModel from "./GatewayModel.ts"
import { errorWithRequest, ResponseWithRequest } from "./withRequest.ts"

/**
 * Options of {@link layer}.
 *
 * @category models
 */
export interface Options {
  /**
   * Token for a gateway with authentication, sent as `cf-aig-authorization`. Workers need it too, because these
   * requests do not use the binding.
   */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Options of every request. `GatewayModel.Config` adds those of single calls. Default: the gateway's settings. */
  readonly options?: Omit<GatewayOptions.Input, "eventId"> | undefined
  /**
   * Further base URLs of provider clients, each with its provider: `{ "https://models.example.com": "custom-models" }`.
   * The rest of the URL becomes the path at the provider. They win over {@link providers}. Default: only those.
   */
  readonly providers?: Readonly<Record<string, string>> | undefined
}

/**
 * Known base URLs and their providers. The rest of the URL is the path at the provider, as in Cloudflare's page of each
 * provider.
 *
 * @category constants
 */
export const providers: Readonly<Record<string, string>> = {
  "https://api.openai.com/v1": "openai",
  "https://api.anthropic.com": "anthropic",
  "https://generativelanguage.googleapis.com": "google-ai-studio",
  "https://openrouter.ai/api": "openrouter",
  "https://api.x.ai": "grok",
  "https://api.groq.com/openai/v1": "groq",
  "https://api.deepseek.com": "deepseek",
  "https://api.mistral.ai": "mistral",
  "https://api.cerebras.ai/v1": "cerebras",
  "https://api.perplexity.ai": "perplexity-ai"
}

const method = "GatewayHttpClient.layer"
const names = ["token", "options", "providers"] satisfies ReadonlyArray<keyof Options>
const authorization = "cf-aig-authorization"

const problemOf = (given: Options): GatewayOptions.Problem | undefined => {
  if (!isObject(given)) return { field: "options", accepted: `an object with ${names.join(", ")}` }
  const stray = strayField(given, names)
  if (stray !== undefined) return { field: stray, accepted: `one of ${names.join(", ")}` }
  const { options = {}, providers: further = {}, token } = given
  if (token !== undefined && !(Redacted.isRedacted(token) && isHeaderValue(Redacted.value(token)))) {
    return { field: "token", accepted: "a Redacted token of printable ASCII that is not empty" }
  }
  const [problem] = GatewayOptions.problems(options)
  if (problem !== undefined) return { ...problem, field: `options.${problem.field}` }
  if ("eventId" in options && options.eventId !== undefined) {
    return { field: "options.eventId", accepted: "absent: it names one request; GatewayModel.Config takes it" }
  }
  if (!isObject(further) || Symbol.iterator in further) {
    return { field: "providers", accepted: "an object of base URLs and provider slugs" }
  }
  const seen = new Map<string, string>()
  for (const [url, provider] of Object.entries(further)) {
    if (!isBaseUrl(url)) return { field: `providers key ${JSON.stringify(url)}`, accepted: `an ${baseUrlAccepted}` }
    if (!UniversalRequest.isProvider(provider)) {
      return { field: `providers[${JSON.stringify(url)}]`, accepted: UniversalRequest.providerAccepted }
    }
    const base = canonical(url)
    const other = seen.get(base)
    if (other !== undefined && other !== provider) {
      return { field: `providers key ${JSON.stringify(url)}`, accepted: "each base URL once" }
    }
    seen.set(base, provider)
  }
  return undefined
}

/** Reports options of a call that only a route supports. */
const callProblem = (call: GatewayModel.Options): GatewayOptions.Problem | undefined => {
  const problem = optionsProblem(call)
  if (problem !== undefined) return problem
  const { cache, eventId, log, metadata, ...others } = call
  const [field] = Object.keys(defined(others))
  if (field !== undefined) {
    return { field: `GatewayModel.Config.${field}`, accepted: "absent: a provider's client runs no route" }
  }
  return GatewayOptions.problems(defined({ cache, eventId, log, metadata }))[0]
}

/** A base URL in the one form in which all are compared. */
const canonical = (url: string): string => trimSlashes(new URL(url).href)

const byBase = (further: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(further).map(([url, provider]) => [canonical(url), provider]))

interface Found {
  readonly provider: string
  readonly path: string
}

/** Finds the provider of a URL, by the longest base URL, and the path there. The fragment is never sent. */
const finder = (bases: Readonly<Record<string, string>>) => {
  const known = Object.entries(bases).sort(([a], [b]) => b.length - a.length)
  return (url: string): Found | undefined => {
    const [href = url] = (URL.canParse(url) ? new URL(url).href : url).split("#")
    for (const [base, provider] of known) {
      if (href.startsWith(`${base}/`)) return { provider, path: href.slice(base.length + 1) }
    }
    return undefined
  }
}

const invalidUrl = (
  request: HttpClientRequest.HttpClientRequest,
  description: string,
  cause?: GatewayError
): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.InvalidUrlError({ request, description, ...defined({ cause }) })
  })

/**
 * Sends the requests of a provider's client through the gateway. Fails with `InvalidRequest` for an invalid option,
 * with its name.
 *
 * The base URL of the client identifies the provider ({@link providers}, and those of the option). A request to any
 * other URL fails with `InvalidUrlError`, because it would bypass the gateway's logs, limits and guardrails. Without an
 * API key in the client, the gateway uses its stored key or Unified Billing. Redirects are not followed, because the
 * gateway's token would go with them.
 *
 * Every request is an attempt in `LogTrail`, with its log id. `cache`, `metadata`, `log` and `eventId` of
 * `GatewayModel.Config` apply to single calls; its other fields belong to routes and fail the request. Headers that the
 * client sets itself (`cf-aig-…`) win.
 *
 * **Gotchas**
 *
 * Give the layer to the provider's client only. Retries of the client multiply with those of the gateway. Do not put
 * `HttpClient.followRedirects` into the client below the layer: it sends the gateway's token to where a redirect leads.
 *
 * @example
 * ```ts
 * import * as Config from "effect/Config"
 * import * as Effect from "effect/Effect"
 * import * as HttpClient from "effect/http/HttpClient"
 * import * as Layer from "effect/Layer"
 * import { GatewayHttpClient } from "effect-ai-gateway/ai"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Transport from "effect-ai-gateway/Transport"
 *
 * const ThroughGateway = Layer.unwrap(
 *   Effect.map(Config.Redacted("CF_AIG_TOKEN"), (token) => GatewayHttpClient.layer({ token }))
 * ).pipe(
 *   Layer.provide(GatewayService.layerConfig),
 *   Layer.provide(Transport.layerFetch)
 * )
 * // In place of this: OpenAiClient.layer({ apiKey }).pipe(Layer.provide(ThroughGateway))
 * export const models = HttpClient.get("https://api.openai.com/v1/models").pipe(Effect.provide(ThroughGateway))
 * ```
 *
 * @category layers
 */
export const layer = (
  given: Options = {}
): Layer.Layer<HttpClient.HttpClient, GatewayError, GatewayService | HttpClient.HttpClient> =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function* () {
      const problem = problemOf(given)
      if (problem !== undefined) return yield* invalid(method, problem.field, problem.accepted)
      return make(given, yield* GatewayService, yield* HttpClient.HttpClient)
    })
  )

const make = (given: Options, gateway: GatewayService["Service"], client: HttpClient.HttpClient) => {
  const bases = { ...providers, ...byBase(given.providers) }
  const find = finder(bases)
  const accepted = `a URL below one of ${Object.keys(bases).join(", ")}`
  const settings = GatewayOptions.normalize(given.options ?? {})

  type Sent = Effect.Effect<Readonly<Record<string, string>>, HttpClientError.HttpClientError>
  const headersOf = (request: HttpClientRequest.HttpClientRequest): Sent =>
    Effect.flatMap(GatewayModel.Config, (call) => {
      const problem = callProblem(call)
      if (problem !== undefined) {
        const cause = invalid("GatewayHttpClient", problem.field, problem.accepted)
        return Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.EncodeError({ request, cause, description: cause.message })
          })
        )
      }
      const { cache, eventId, log, metadata } = call
      const merged = GatewayOptions.merge(
        settings,
        GatewayOptions.normalize(defined({ cache, eventId, log, metadata }))
      )
      return Effect.succeed({ ...GatewayOptions.toHeaders(merged), ...request.headers })
    })

  const withToken = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest =>
    given.token === undefined || authorization in request.headers
      ? request
      : HttpClientRequest.setHeader(request, authorization, `Bearer ${Redacted.value(given.token)}`)

  const send = Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    { path, provider }: Found,
    signal: AbortSignal,
    parent: Tracer.AnySpan | undefined
  ) {
    const base = yield* Effect.mapBoth(gateway.getUrl(provider), {
      onFailure: (error) => invalidUrl(request, error.message, error),
      onSuccess: trimSlashes
    })
    const url = `${base}/${path}`
    const shownPath = shownEndpoint(path)
    yield* describeSpan(`${base}/${shownPath}`, parent)
    const headers = yield* headersOf(request)
    const outgoing = withToken(
      // The host is part of the address.
      HttpClientRequest.removeHeader(
        HttpClientRequest.setHeaders(HttpClientRequest.setUrl(request, url), headers),
        "host"
      )
    )
    const shown = HttpClientRequest.removeHeader(outgoing, authorization)
    const sent = Effect.mapBoth(sendUntil(client, outgoing, signal), {
      onFailure: (error) => errorWithRequest(error, shown),
      onSuccess: (response) => new ResponseWithRequest(response, shown)
    })
    return yield* recorded(sent, {
      // Google's clients may put the key into the query.
      target: `${gateway.id}:${provider}/${shownPath.split("?")[0]}`,
      provider,
      endpoint: path,
      ...defined({ eventId: headers["cf-aig-event-id"] })
    })
  })

  return HttpClient.makeWith(
    (request: Effect.Effect<HttpClientRequest.HttpClientRequest, HttpClientError.HttpClientError>) =>
      Effect.flatMap(request, (asked) => {
        const found = find(asked.url)
        if (found === undefined) return Effect.fail(invalidUrl(asked, `expected ${accepted}`))
        return Effect.withFiber((fiber) => {
          const parent = currentSpan(fiber)
          // Effect finds the scope of `HttpClient.withScope` by the identity of the request, so this one is no copy.
          // The span starts here too, before the request has the token.
          return HttpClient.make((copy, _, signal) => send(copy, found, signal, parent)).execute(asked)
        })
      }).pipe(Effect.updateService(Headers.CurrentRedactedNames, (names) => [...names, authorization])),
    Effect.succeed
  )
}

const currentSpan = (fiber: Fiber.Fiber<unknown, unknown>): Tracer.AnySpan | undefined =>
  Context.getOrUndefined(fiber.context, Tracer.ParentSpan)

/** Writes the address at the gateway into the span of the request, if there is one. */
const describeSpan = (address: string, parent: Tracer.AnySpan | undefined): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const span = currentSpan(fiber)
    if (span?._tag === "Span" && span !== parent && URL.canParse(address)) {
      const { hostname, href, pathname, port, protocol, search } = new URL(address)
      span.attribute("url.full", href)
      span.attribute("url.path", pathname)
      if (search !== "") span.attribute("url.query", search.slice(1))
      span.attribute("url.scheme", protocol.slice(0, -1))
      span.attribute("server.address", hostname.replace(/^\[|\]$/g, ""))
      span.attribute("server.port", port === "" ? (protocol === "http:" ? 80 : 443) : Number(port))
    }
    return Effect.void
  })

/** Sends a request that ends with the signal. */
const sendUntil = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  signal: AbortSignal
): Effect.Effect<HttpClientResponse, HttpClientError.HttpClientError> =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    const abort = Scope.close(scope, Exit.void)
    const onAbort = () => void Effect.runFork(abort)
    if (signal.aborted) onAbort()
    else signal.addEventListener("abort", onAbort, { once: true })
    const scoped = HttpClient.withScope(client)
    // Not `execute`: redirects must be turned off after middleware has copied the request for the last time.
    return scoped.postprocess(Effect.map(scoped.preprocess(request), guarded)).pipe(
      Scope.provide(scope),
      Effect.onError(() => abort),
      Effect.provideService(HttpClient.TracerDisabledWhen, () => true)
    )
  })

/** Records the attempt. An answer with an error status is a failed one. */
const recorded = <E, R>(
  sent: Effect.Effect<HttpClientResponse, E, R>,
  started: LogTrail.Started
): Effect.Effect<HttpClientResponse, E, R> =>
  Effect.suspend(() => {
    let running: LogTrail.Running | undefined
    const begun = Effect.flatMap(LogTrail.begin(started), (one) => {
      running = one
      return sent
    })
    // Around the beginning too: an interruption may come between any two steps, and an attempt that began must end.
    return Effect.onExit(begun, (exit) => {
      if (Exit.isFailure(exit)) running?.end(exit, {})
      else {
        const { headers, status } = exit.value
        const { cacheStatus, eventId, logId, model, step } = metaFromHeaders(headers)
        const ended = status >= 400 ? Exit.fail(status) : exit
        running?.end(ended, { status, ...defined({ cacheStatus, eventId, logId, model, step }) })
      }
      return Effect.void
    })
  })

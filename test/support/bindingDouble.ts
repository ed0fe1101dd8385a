/**
 * A double of the Workers AI binding `env.AI` that runs on Node, traps included: options and log id are shared by
 * overlapping calls, the caller's leg headers are rewritten in place, `gateway().run` throws synchronously, ids are
 * put into URLs unencoded. Compared call by call with the genuine binding inside workerd 1.20260730.1.
 *
 * Left out: `toMarkdown`, `autorag`, `aiSearch`, `websearch`, the JS-RPC stub of `gateway(id, { beta: true })`, status
 * 101, and following of redirects (the private surface sends none).
 */

const origin = "https://workers-binding.ai"

/**
 * The service behind the binding. Its requests have the origin `https://workers-binding.ai`. `signal` is the caller's
 * own: on Node that of a request, or of one made from it, is deaf once the request has been collected
 * (nodejs/undici#4068), so code that passes a request on passes this along.
 */
export type Fetcher = (request: Request, signal: AbortSignal | undefined) => Promise<Response>

type Metadata = Record<string, number | string | boolean | null | bigint>

/** Gateway settings of one call. */
export interface GatewayOptions {
  id?: string
  cacheKey?: string | undefined
  cacheTtl?: number | undefined
  skipCache?: boolean | undefined
  metadata?: Metadata | undefined
  collectLog?: boolean | undefined
  eventId?: string | undefined
  requestTimeoutMs?: number | undefined
  retries?:
    | {
        maxAttempts?: 1 | 2 | 3 | 4 | 5 | undefined
        retryDelayMs?: number | undefined
        backoff?: "constant" | "linear" | "exponential" | undefined
      }
    | undefined
}

/** Third argument of `Ai.run`. */
export interface AiOptions {
  gateway?: GatewayOptions | undefined
  queueRequest?: boolean | undefined
  websocket?: boolean | undefined
  returnRawResponse?: boolean | undefined
  rejectIfBusy?: boolean | undefined
  tags?: Array<string> | undefined
  prefix?: string | undefined
  extraHeaders?: object | undefined
  sessionOptions?: object | undefined
  signal?: AbortSignal | undefined
}

/** One leg of a universal request. */
export interface AiGatewayUniversalRequest {
  provider: string
  endpoint: string
  headers: Record<string, unknown>
  query: unknown
  config?: unknown
}

/** Second argument of `AiGateway.run`. */
export interface AiGatewayRunOptions {
  gateway?: GatewayOptions | undefined
  extraHeaders?: object | undefined
  signal?: AbortSignal | undefined
}

/** The fields that `AiGateway.patchLog` can change. */
export interface AiGatewayPatchLog {
  score?: number | null
  feedback?: -1 | 1 | null
  metadata?: Metadata | null
}

/** A log entry. Live ones have more fields, which are passed on. */
export interface AiGatewayLog {
  id: string
  provider: string
  model: string
  path: string
  duration: number
  status_code: number
  success: boolean
  cached: boolean
  created_at: Date
  metadata?: Metadata
}

/** Filters of `Ai.models`. */
export type AiModelsSearchParams = Record<string, string | number | boolean>

// As in a Worker, tests can tell these classes apart by `name` only, so none is exported.

class AiInternalError extends Error {
  constructor(message: string) {
    super(message)
    this.name = "AiInternalError"
  }
}

class InferenceUpstreamError extends Error {
  constructor(message: string, name = "InferenceUpstreamError") {
    super(message)
    this.name = name
  }
}

class AiGatewayInternalError extends Error {
  constructor(message: string) {
    super(message)
    this.name = "AiGatewayInternalError"
  }
}

class AiGatewayLogNotFound extends Error {
  constructor(message: string) {
    super(message)
    this.name = "AiGatewayLogNotFound"
  }
}

// workerd sends header text as UTF-8. Node takes only one-byte characters, so each UTF-8 byte becomes one character:
// what a Node server also sees when a Worker calls it. Node's own message for a bad value would quote it.
const wire = (value: unknown): string => {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "")
  if (/[\0\n\r]/.test(text)) throw new TypeError("Invalid header value.")
  return Buffer.from(text, "utf8").toString("latin1")
}

// Keys that differ in letter case stay separate and their values are joined with a comma.
const joined = (record: object): Headers => {
  const headers = new Headers()
  for (const [name, value] of Object.entries(record)) headers.append(name, wire(value))
  return headers
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)))

const ignore = (): void => {}

/** Bytes of `source`, on demand, failing as soon as `signal` aborts. */
const bytes = (source: Response["body"], signal: AbortSignal | undefined): ReadableStream<Uint8Array> => {
  const reader = source?.getReader()
  let release = ignore
  return new ReadableStream({
    type: "bytes",
    start(controller) {
      if (signal === undefined) return
      const abort = () => {
        controller.error(asError(signal.reason))
        reader?.cancel(signal.reason).catch(ignore)
      }
      if (signal.aborted) return abort()
      signal.addEventListener("abort", abort, { once: true })
      release = () => signal.removeEventListener("abort", abort)
    },
    async pull(controller) {
      for (;;) {
        const chunk = await reader?.read().catch((error: unknown) => {
          release()
          throw error
        })
        if (signal?.aborted) return
        if (chunk === undefined || chunk.done) {
          release()
          controller.close()
          controller.byobRequest?.respond(0)
          return
        }
        const piece: unknown = chunk.value
        // A copy, because a byte stream takes the buffer away from its owner.
        const copy = typeof piece === "string" ? new TextEncoder().encode(piece) : new Uint8Array(chunk.value)
        if (copy.byteLength > 0) return controller.enqueue(copy)
      }
    },
    async cancel(reason) {
      release()
      await reader?.cancel(reason)
    }
  })
}

const statusesWithoutBody: ReadonlyArray<number> = [204, 205, 304]

/**
 * A handler's response as a caller of `fetch` gets it: immutable headers, a byte stream (maybe an empty one) as body.
 */
const received = (response: Response, signal: AbortSignal | undefined): Response => {
  const { headers, status, statusText } = response
  const body = statusesWithoutBody.includes(status) ? null : bytes(response.body, signal)
  const copy = new Response(body, { headers, status, statusText })
  const refuse = () => {
    throw new TypeError("Can't modify immutable headers.")
  }
  for (const method of ["append", "delete", "set"]) Object.defineProperty(copy.headers, method, { value: refuse })
  return copy
}

/** `promise`, or the abort if that comes first, also when the fetcher does not look at its signal. */
const orAborted = (promise: Promise<Response>, signal: AbortSignal): Promise<Response> =>
  new Promise((resolve, reject) => {
    const abort = () => {
      reject(asError(signal.reason))
      promise.then((late) => late.body?.cancel(signal.reason)).catch(ignore)
    }
    const release = () => signal.removeEventListener("abort", abort)
    signal.addEventListener("abort", abort, { once: true })
    promise.then(resolve, reject).then(release)
  })

/** An id with `/`, `..` or `?` changes the path; what follows a `#` is not sent. */
const urlOf = (path: string): URL => {
  const url = new URL(origin + path)
  url.hash = ""
  return url
}

const dispatch = async (fetcher: Fetcher, request: Request, signal: AbortSignal | undefined): Promise<Response> => {
  signal?.throwIfAborted()
  const pending = fetcher(request, signal)
  return received(await (signal === undefined ? pending : orAborted(pending, signal)), signal)
}

const withSignal = (init: RequestInit, signal: AbortSignal | undefined): RequestInit =>
  signal === undefined ? init : { ...init, signal }

const isStream = (value: unknown): value is ReadableStream | FormData =>
  value instanceof ReadableStream || value instanceof FormData

const property = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined

/**
 * The request of `run` when one input is a stream. A bare stream with a `contentType` property is sent without a body.
 */
const streamRequest = (
  [key, input]: readonly [string, unknown],
  inputs: ReadonlyArray<readonly [string, unknown]>,
  sent: Omit<AiOptions, "signal">,
  headers: object
): [string, RequestInit] => {
  if (sent.gateway?.id) throw new AiInternalError("AI Gateway does not support ReadableStreams yet.")
  const contentType = property(input, "contentType")
  if (!contentType) throw new AiInternalError("Content-Type is required with ReadableStream inputs")
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(sent)) query.append(name, String(value))
  query.set("version", "3")
  query.set("userInputs", JSON.stringify(Object.fromEntries(inputs.filter(([name]) => name !== key))))
  const body = property(input, "body")
  const init: RequestInit & { duplex: "half" } = {
    method: "POST",
    headers: joined({ ...headers, "content-type": contentType }),
    body: isStream(body) ? body : null,
    duplex: "half"
  }
  return [`/run?${query}`, init]
}

/** Path and request of one `run`. Throws what the binding throws before it sends. */
const runRequest = (
  inputs: object,
  sent: Omit<AiOptions, "signal">,
  headers: object
): [path: string, init: RequestInit] => {
  if (sent.websocket) {
    const query = new URLSearchParams({ version: "3", body: JSON.stringify({ inputs, options: sent }) })
    return [`/run?${query}`, { headers: joined({ ...headers, Upgrade: "websocket" }) }]
  }
  const entries: ReadonlyArray<readonly [string, unknown]> = Object.entries(inputs)
  const streams = entries.filter(([, value]) => isStream(value) || isStream(property(value, "body")))
  if (streams.length > 1) {
    const keys = streams.map(([key]) => key).join(", ")
    throw new AiInternalError(`Multiple ReadableStreams are not supported. Found streams in keys: [${keys}]`)
  }
  const [stream] = streams
  if (stream !== undefined) return streamRequest(stream, entries, sent, headers)
  return [
    `${sent.gateway?.id ? "/ai-gateway" : ""}/run?version=3`,
    {
      method: "POST",
      headers: joined({ ...headers, "content-type": "application/json" }),
      body: JSON.stringify({ inputs, options: sent })
    }
  ]
}

// The binding reads error bodies without checking them; these types describe what it hopes for.
interface ErrorBody {
  internalCode?: number
  name?: string
  description?: string
  errors?: { length: number; 0: { code: number; message: string } }
}
interface ErrorList {
  errors: { 0?: { message?: string } | null }
}

/** The binding. Take its methods off it and they fail, because its state is private. */
export class Ai {
  readonly #fetcher: Fetcher
  #options: AiOptions = {}
  /** Log id of whichever run got its headers last. Never reset. */
  aiGatewayLogId: string | null = null
  lastRequestId: string | null = null
  lastRequestHttpStatusCode: number | null = null
  lastRequestInternalStatusCode: number | null = null

  constructor(fetcher: Fetcher) {
    this.#fetcher = fetcher
  }

  async fetch(input: Request | string | URL, init?: RequestInit): Promise<Response> {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
    return dispatch(this.#fetcher, new Request(input, init), signal)
  }

  async run(model: string, inputs: object, options: AiOptions = {}): Promise<unknown> {
    this.#options = options
    this.lastRequestId = ""
    const { prefix, extraHeaders, sessionOptions, signal, ...sent } = options
    const [path, init] = runRequest(inputs, sent, {
      ...extraHeaders,
      "cf-consn-sdk-version": "2.0.0",
      "cf-consn-model-id": prefix ? `${prefix}:${model}` : model
    })
    const response = await dispatch(this.#fetcher, new Request(urlOf(path), withSignal(init, signal)), signal)
    this.lastRequestId = response.headers.get("cf-ai-req-id")
    this.aiGatewayLogId = response.headers.get("cf-aig-log-id")
    this.lastRequestHttpStatusCode = response.status
    // The field, not the argument: another call may have replaced it meanwhile.
    if (this.#options.returnRawResponse || this.#options.websocket) return response
    if (!response.ok || response.body === null) throw await this.#failure(response)
    return response.headers.get("content-type") === "application/json" ? await response.json() : response.body
  }

  async #failure(response: Response): Promise<InferenceUpstreamError> {
    const text = await response.text()
    try {
      const body: ErrorBody = JSON.parse(text)
      if (body.internalCode) {
        this.lastRequestInternalStatusCode = body.internalCode
        return new InferenceUpstreamError(`${body.internalCode}: ${body.description}`, body.name)
      }
      if (body.errors && body.errors.length > 0) {
        return new InferenceUpstreamError(`${body.errors[0].code}: ${body.errors[0].message}`)
      }
    } catch {
      // Not the hoped-for shape, or not JSON: the text is the message.
    }
    return new InferenceUpstreamError(text)
  }

  async models(params: AiModelsSearchParams = {}): Promise<Array<{ id: string; name: string }>> {
    const url = urlOf("/ai-api/models/search")
    for (const [name, value] of Object.entries(params)) {
      url.searchParams.append(name, value.toString())
    }
    const response = await dispatch(this.#fetcher, new Request(url), undefined)
    if (response.status === 200) {
      const body: { result: Array<{ id: string; name: string }> } = await response.json()
      return body.result
    }
    const body: ErrorList = await response.json()
    throw new AiInternalError(body.errors[0]?.message || "Internal Error")
  }

  /** A new object each time. */
  gateway(gatewayId: string, options?: { beta?: boolean }): AiGateway {
    if (options?.beta) throw new TypeError("this double has no JS-RPC stub")
    return new AiGateway(this.#fetcher, gatewayId)
  }
}

const gatewayHeaders = (gateway: GatewayOptions | undefined, extraHeaders: object | undefined): Headers => {
  const headers = new Headers({ "content-type": "application/json" })
  const set = (name: string, value: unknown) => headers.set(name, wire(value))
  if (gateway) {
    if (gateway.skipCache !== undefined) set("cf-aig-skip-cache", Boolean(gateway.skipCache))
    // Truthiness: a time to live of 0 and an empty key are dropped.
    if (gateway.cacheTtl) set("cf-aig-cache-ttl", gateway.cacheTtl.toString())
    if (gateway.cacheKey) set("cf-aig-cache-key", gateway.cacheKey)
    if (gateway.metadata) set("cf-aig-metadata", JSON.stringify(gateway.metadata))
    if (gateway.collectLog !== undefined) set("cf-aig-collect-log", Boolean(gateway.collectLog))
    if (gateway.eventId !== undefined) set("cf-aig-event-id", gateway.eventId)
    if (gateway.requestTimeoutMs !== undefined) set("cf-aig-request-timeout", gateway.requestTimeoutMs.toString())
    if (gateway.retries !== undefined) {
      const { backoff, maxAttempts, retryDelayMs } = gateway.retries
      if (maxAttempts !== undefined) set("cf-aig-max-attempts", maxAttempts.toString())
      if (retryDelayMs !== undefined) set("cf-aig-retry-delay", retryDelayMs.toString())
      if (backoff !== undefined) set("cf-aig-backoff", backoff)
    }
  }
  for (const [name, value] of Object.entries(extraHeaders ?? {})) set(name, value)
  return headers
}

/** The failure of a log or URL call. A body without `errors` counts as unreadable, and hides a 404. */
const gatewayFailure = async (response: Response, mayBeMissing: boolean): Promise<Error> => {
  const text = await response.text()
  try {
    const body: ErrorList = JSON.parse(text)
    const message = body.errors[0]?.message
    return mayBeMissing && response.status === 404
      ? new AiGatewayLogNotFound(message || "Log Not Found")
      : new AiGatewayInternalError(message || "Internal Error")
  } catch {
    return new AiGatewayInternalError(text)
  }
}

/** One gateway, as `Ai.gateway` returns it. Holds nothing that calls could share. */
export class AiGateway {
  readonly #fetcher: Fetcher
  readonly #id: string

  constructor(fetcher: Fetcher, id: string) {
    this.#fetcher = fetcher
    this.#id = id
  }

  /** Not `async`: bad arguments throw at once. Rewrites the `headers` of the caller's legs. */
  run(
    data: AiGatewayUniversalRequest | Array<AiGatewayUniversalRequest>,
    options?: AiGatewayRunOptions
  ): Promise<Response> {
    const fetcher = this.#fetcher
    const legs = Array.isArray(data) ? data : [data]
    const headers = gatewayHeaders(options?.gateway, options?.extraHeaders)
    for (const leg of legs) {
      for (const [name, value] of Object.entries(leg.headers)) {
        if (typeof value === "number" || typeof value === "boolean") leg.headers[name] = String(value)
        else if (typeof value === "object" && value !== null) leg.headers[name] = JSON.stringify(value)
      }
    }
    const init: RequestInit = { method: "POST", headers, body: JSON.stringify(legs) }
    const url = urlOf(`/ai-gateway/universal/run/${this.#id}`)
    return dispatch(fetcher, new Request(url, withSignal(init, options?.signal)), options?.signal)
  }

  async getLog(logId: string): Promise<AiGatewayLog> {
    const response = await this.#call(`logs/${logId}`)
    if (response.status !== 200) throw await gatewayFailure(response, true)
    const body: { result: Omit<AiGatewayLog, "created_at"> & { created_at: string } } = await response.json()
    return { ...body.result, created_at: new Date(body.result.created_at) }
  }

  async patchLog(logId: string, data: AiGatewayPatchLog): Promise<void> {
    const response = await this.#call(`logs/${logId}`, {
      method: "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(data)
    })
    if (response.status !== 200) throw await gatewayFailure(response, true)
  }

  async getUrl(provider?: string): Promise<string> {
    const response = await this.#call(`url/${provider ?? "universal"}`)
    if (!response.ok) throw await gatewayFailure(response, false)
    const body: { result: { url: string } } = await response.json()
    return body.result.url
  }

  #call(path: string, init: RequestInit = {}): Promise<Response> {
    const url = urlOf(`/ai-gateway/gateways/${this.#id}/${path}`)
    return dispatch(this.#fetcher, new Request(url, init), undefined)
  }
}

/** A binding whose service is `fetcher`. Like in a Worker, make one and share it between all requests. */
export const makeBinding = (fetcher: Fetcher): Ai => new Ai(fetcher)

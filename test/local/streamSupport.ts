/**
 * Streams of a local gateway, read piece by piece, in every dialect.
 */
import * as Effect from "effect/Effect"
import { joinBytes } from "../../src/internal/data/bytes.ts"
import type * as LocalGateway from "../../src/local/LocalGateway.ts"
import type * as Upstream from "../../src/local/Upstream.ts"
import { api, base, binding, dataPlane, request } from "./support.ts"

/** The received part of a body, and how it ended. */
export interface Received {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly chunks: ReadonlyArray<Uint8Array>
  readonly bytes: Uint8Array
  readonly text: string
  /** Whether the body broke off. */
  readonly broken: boolean
}

export const readerOf = (response: Response): ReadableStreamDefaultReader<Uint8Array> => {
  if (response.body === null) throw new Error("the response has no body")
  return response.body.getReader()
}

const readOn = async (response: Response): Promise<Received> => {
  const chunks: Array<Uint8Array> = []
  let broken = false
  if (response.body !== null) {
    const reader = response.body.getReader()
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value)
    } catch {
      broken = true
    }
  }
  const bytes = joinBytes(chunks)
  const headers = Object.fromEntries(response.headers)
  return { status: response.status, headers, chunks, bytes, text: new TextDecoder().decode(bytes), broken }
}

/** Reads a body to its end, however it ends. */
export const receive = (response: Response): Effect.Effect<Received> => Effect.promise(() => readOn(response))

/** Starts to read, and returns a view of the bytes so far. */
export const reading = (response: Response) => {
  const reader = readerOf(response)
  const chunks: Array<Uint8Array> = []
  let state: "open" | "ended" | "broken" = "open"
  const pump = async (): Promise<void> => {
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value)
      state = "ended"
    } catch {
      state = "broken"
    }
  }
  void pump()
  return {
    text: () => new TextDecoder().decode(joinBytes(chunks)),
    count: () => chunks.length,
    state: () => state,
    cancel: Effect.promise(() => reader.cancel())
  }
}

export interface ServerEvent {
  readonly event: string | undefined
  readonly data: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events whose shape is what they check
  readonly json: any
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A plain reading of complete events, with any of the three line ends; comments and a lone `retry` do not count. */
export const eventsOf = (text: string): ReadonlyArray<ServerEvent> =>
  text
    .replace(/^\ufeff/, "")
    .split(/\r\n\r\n|\n\n/)
    .slice(0, -1)
    .flatMap((block) => {
      const lines = block.split(/\r\n|\n/)
      const values = (name: string) =>
        lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2))
      const data = values("data")
      if (data.length === 0) return []
      return [{ event: values("event")[0], data: data.join("\n"), json: parse(data.join("\n")) }]
    })

export type DialectName = "chat" | "responses" | "anthropic" | "google" | "workers-ai"

const deltaOf: Readonly<Record<DialectName, (event: ServerEvent) => string | undefined>> = {
  chat: ({ json }) => json?.choices?.[0]?.delta?.content || undefined,
  responses: ({ json }) => (json?.type === "response.output_text.delta" ? json.delta : undefined),
  anthropic: ({ json }) => (json?.type === "content_block_delta" ? json.delta.text : undefined),
  google: ({ json }) => json?.candidates?.[0]?.content.parts[0].text || undefined,
  "workers-ai": ({ json }) => json?.response || undefined
}

/** The text deltas of a stream. */
export const deltasOf = (dialect: DialectName, text: string): ReadonlyArray<string> =>
  eventsOf(text).flatMap((event) => deltaOf[dialect](event) ?? [])

const isFinish: Readonly<Record<DialectName, (event: ServerEvent) => boolean>> = {
  chat: ({ data, json }) => data === "[DONE]" || typeof json?.choices?.[0]?.finish_reason === "string",
  responses: ({ json }) => json?.type === "response.completed",
  anthropic: ({ json }) => json?.type === "message_stop" || json?.type === "message_delta",
  google: ({ json }) => json?.candidates?.[0]?.finishReason !== undefined,
  "workers-ai": ({ data }) => data === "[DONE]"
}

/** Whether a stream contains its finish. */
export const finishes = (dialect: DialectName, text: string): boolean => eventsOf(text).some(isFinish[dialect])

// biome-ignore lint/suspicious/noExplicitAny: as above
const textOf = (dialect: DialectName, body: any): string => {
  if (Array.isArray(body)) throw new Error("expected one answer")
  const answer = body.result?.result ?? body.result ?? body
  switch (dialect) {
    case "chat":
      return answer.choices[0].message.content
    case "responses":
      return answer.output[0].content[0].text
    case "anthropic":
      return answer.content[0].text
    case "google":
      return answer.candidates[0].content.parts[0].text
    case "workers-ai":
      return answer.response
  }
}

/** The text of a complete answer, inside any envelope. */
export const wholeText = (dialect: DialectName, text: string): string => textOf(dialect, parse(text))

/** One way to request a stream. */
export interface Surface {
  readonly name: string
  readonly dialect: DialectName
  /** The provider's slug. */
  readonly provider: string
  readonly ask: (stream: boolean, headers?: Record<string, string>) => Request
}

const messages = [{ role: "user", content: "Say hello to everybody" }]
const bodies = {
  chat: (model: string, stream: boolean) => ({ model, messages, stream }),
  responses: (model: string, stream: boolean) => ({ model, input: "Say hello to everybody", stream }),
  anthropic: (model: string, stream: boolean) => ({ model, max_tokens: 9, messages, stream }),
  workersAi: (stream: boolean) => ({ messages, stream })
}
const contents = [{ role: "user", parts: [{ text: "Say hello to everybody" }] }]

const post = (url: string, body: unknown, headers: Record<string, string> = {}): Request =>
  request("POST", url, body, { "content-type": "application/json", ...headers })

/** `env.AI.run`. */
export const envRun = (
  model: string,
  inputs: unknown,
  gateway: string | undefined,
  headers: Record<string, string> = {}
): Request =>
  post(
    `${binding}${gateway === undefined ? "" : "/ai-gateway"}/run?version=3`,
    { inputs, options: gateway === undefined ? {} : { gateway: { id: gateway } } },
    { "cf-consn-model-id": model, ...headers }
  )

const google = `${dataPlane}/google-ai-studio/v1beta/models/gemini`
const llama = "@cf/meta/llama-3.1-8b-instruct"

/** Every surface that streams, in every dialect. */
export const surfaces: ReadonlyArray<Surface> = [
  {
    name: "native OpenAI chat",
    dialect: "chat",
    provider: "openai",
    ask: (stream, headers) => post(`${dataPlane}/openai/chat/completions`, bodies.chat("gpt", stream), headers)
  },
  {
    name: "native OpenAI responses",
    dialect: "responses",
    provider: "openai",
    ask: (stream, headers) => post(`${dataPlane}/openai/v1/responses`, bodies.responses("gpt", stream), headers)
  },
  {
    name: "native Anthropic",
    dialect: "anthropic",
    provider: "anthropic",
    ask: (stream, headers) => post(`${dataPlane}/anthropic/v1/messages`, bodies.anthropic("claude", stream), headers)
  },
  {
    name: "native Google",
    dialect: "google",
    provider: "google-ai-studio",
    ask: (stream, headers) =>
      post(stream ? `${google}:streamGenerateContent?alt=sse` : `${google}:generateContent`, { contents }, headers)
  },
  {
    name: "native Workers AI",
    dialect: "workers-ai",
    provider: "workers-ai",
    ask: (stream, headers) => post(`${dataPlane}/workers-ai/${llama}`, bodies.workersAi(stream), headers)
  },
  {
    name: "compat",
    dialect: "chat",
    provider: "groq",
    ask: (stream, headers) => post(`${dataPlane}/compat/chat/completions`, bodies.chat("groq/llama", stream), headers)
  },
  {
    name: "universal",
    dialect: "anthropic",
    provider: "anthropic",
    ask: (stream, headers) => {
      const query = bodies.anthropic("claude", stream)
      return post(dataPlane, [{ provider: "anthropic", endpoint: "v1/messages", headers: {}, query }], headers)
    }
  },
  {
    name: "run API",
    dialect: "chat",
    provider: "openai",
    ask: (stream, headers) => post(`${dataPlane}/run`, { model: "openai/gpt", input: { messages, stream } }, headers)
  },
  {
    name: "/ai/run, third party",
    dialect: "anthropic",
    provider: "anthropic",
    ask: (stream, headers) =>
      post(`${api}/ai/run`, { model: "anthropic/claude", input: { max_tokens: 9, messages, stream } }, headers)
  },
  {
    name: "/ai/run, Google",
    dialect: "chat",
    provider: "google-ai-studio",
    ask: (stream, headers) => post(`${api}/ai/run`, { model: "google/gemini", input: { messages, stream } }, headers)
  },
  {
    name: "/ai/run/@cf",
    dialect: "workers-ai",
    provider: "workers-ai",
    ask: (stream, headers) => post(`${api}/ai/run/${llama}`, bodies.workersAi(stream), headers)
  },
  {
    name: "/ai/v1/chat/completions",
    dialect: "chat",
    provider: "workers-ai",
    ask: (stream, headers) => post(`${api}/ai/v1/chat/completions`, bodies.chat(llama, stream), headers)
  },
  {
    name: "/ai/v1/responses",
    dialect: "responses",
    provider: "openai",
    ask: (stream, headers) => post(`${api}/ai/v1/responses`, bodies.responses("openai/gpt", stream), headers)
  },
  {
    name: "/ai/v1/messages",
    dialect: "anthropic",
    provider: "anthropic",
    ask: (stream, headers) => post(`${api}/ai/v1/messages`, bodies.anthropic("anthropic/claude", stream), headers)
  },
  {
    name: "env.AI.run, third party",
    dialect: "chat",
    provider: "openai",
    ask: (stream, headers) => envRun("openai/gpt", { messages, stream }, "default", headers)
  },
  {
    name: "env.AI.run, Workers AI without a gateway",
    dialect: "workers-ai",
    provider: "workers-ai",
    ask: (stream, headers) => envRun(llama, bodies.workersAi(stream), undefined, headers)
  },
  {
    name: "env.AI.gateway().run",
    dialect: "chat",
    provider: "openai",
    ask: (stream, headers) => {
      const query = bodies.chat("gpt", stream)
      const leg = { provider: "openai", endpoint: "chat/completions", headers: {}, query }
      return post(`${binding}/ai-gateway/universal/run/default`, [leg], headers)
    }
  },
  {
    name: "env.AI.run inside Miniflare's envelope",
    dialect: "anthropic",
    provider: "anthropic",
    ask: (stream, headers = {}) => {
      const inner = envRun("anthropic/claude", { max_tokens: 9, messages, stream }, "default", headers)
      const outer = new Headers({ "mf-url": inner.url, "mf-binding": "AI" })
      for (const [name, value] of inner.headers) outer.set(`mf-header-${name}`, value)
      const init = { method: "POST", headers: outer, body: inner.body, duplex: "half" }
      return new Request(`${base}/`, init)
    }
  }
]

/** One surface per dialect. */
export const dialects: ReadonlyArray<Surface> = surfaces.filter(({ name }) => name.startsWith("native"))

export const [chatSurface] = dialects
export const chatStream = (headers?: Record<string, string>): Request =>
  post(`${dataPlane}/openai/chat/completions`, bodies.chat("gpt", true), headers)

/** Makes a stream with one fault. */
export const faulty = (
  gateway: LocalGateway.LocalGateway,
  surface: Surface,
  stream: Upstream.StreamFault,
  headers?: Record<string, string>
): Effect.Effect<Response, LocalGateway.Disconnect> =>
  Effect.andThen(
    gateway.script(surface.provider, [{ stream }]),
    Effect.suspend(() => gateway.handle(surface.ask(true, headers)))
  )

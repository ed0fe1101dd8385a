/**
 * The contenders of `questions/stream.ts` and `questions/leaks.ts`: all receive the same bytes from the same server and
 * decode a text.
 */
import { createOpenAI } from "@ai-sdk/openai"
import { streamText } from "ai"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Stream from "effect/Stream"
import type * as Chat from "effect-ai-gateway/Chat"
import * as GatewayResponse from "effect-ai-gateway/GatewayResponse"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import OpenAI from "openai"
import * as Clients from "../clients.ts"

/** Reads one streamed answer to its end. */
export interface Reading {
  readonly name: string
  /** Returns the text; `onFirst` is called on its first piece. */
  readonly read: (onFirst?: () => void) => Promise<string>
}

/** Passes one streamed answer through. */
export interface Passing {
  readonly name: string
  /** Returns the number of bytes that came through. */
  readonly pass: () => Promise<number>
}

const model = "gpt-4.1-mini"
const prompt = "Which planet has the most moons?"
const endpoint = "chat/completions"
const messages = [{ role: "user" as const, content: prompt }]

const body = JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } })

/** Base URL of a provider's API, at the upstream's address. */
const openaiUrl = (base: string): string => `${base}/v1/bench/default/openai`

const request = (base: string): Promise<Response> =>
  fetch(`${openaiUrl(base)}/${endpoint}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body
  })

const contentOf = (json: string): string | undefined => JSON.parse(json)?.choices?.[0]?.delta?.content ?? undefined

/**
 * A hand-written reader: no fallback, no time limit, only thrown errors, and only `data:` lines. The floor, not a peer.
 */
const handWritten = (base: string, name: string): Reading => ({
  name,
  read: async (onFirst) => {
    const response = await request(base)
    const reader = response.body?.getReader()
    if (!response.ok || reader === undefined) throw new Error(`status ${response.status}`)
    const decoder = new TextDecoder()
    let pending = ""
    let text = ""
    while (true) {
      const { done, value } = await reader.read()
      if (done) return text
      const lines = (pending + decoder.decode(value, { stream: true })).split("\n")
      pending = lines.pop() ?? ""
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue
        const content = contentOf(line.slice(6))
        if (content === undefined || content === "") continue
        if (text === "") onFirst?.()
        text += content
      }
    }
  }
})

const openaiSdk = (base: string): Reading => {
  const client = new OpenAI({ apiKey: "key", baseURL: openaiUrl(base), maxRetries: 0 })
  return {
    name: "OpenAI SDK",
    read: async (onFirst) => {
      const stream = await client.chat.completions.create({
        model,
        messages,
        stream: true,
        stream_options: { include_usage: true }
      })
      let text = ""
      for await (const chunk of stream) {
        const content = chunk.choices[0]?.delta.content ?? ""
        if (text === "" && content !== "") onFirst?.()
        text += content
      }
      return text
    }
  }
}

const aiSdk = (base: string): Reading => {
  const provider = createOpenAI({ apiKey: "key", baseURL: openaiUrl(base) })
  return {
    name: "AI SDK",
    read: async (onFirst) => {
      let failure: unknown
      const result = streamText({
        model: provider.chat(model),
        prompt,
        maxRetries: 0,
        onError: ({ error }) => {
          failure = error
        }
      })
      let text = ""
      for await (const content of result.textStream) {
        if (text === "" && content !== "") onFirst?.()
        text += content
      }
      if (failure !== undefined) throw failure
      return text
    }
  }
}

const runtimeOf = (base: string, client: Layer.Layer<HttpClient>) =>
  ManagedRuntime.make(
    Layer.provideMerge(
      Router.layer,
      GatewayService.layerHttp({ accountId: "bench", gateway: "default", baseUrl: base })
    ).pipe(Layer.provide(client))
  )

type Runtime = ReturnType<typeof runtimeOf>

const route = Provider.openai.chat(model)

/** `batches`: the consumer takes everything that arrived together in one go; otherwise delta by delta. */
const ours = (runtime: Runtime, name: string, batches: boolean): Reading => ({
  name,
  read: (onFirst) =>
    runtime.runPromise(
      Effect.suspend(() => {
        let text = ""
        const take = (delta: Chat.Delta): void => {
          if (delta.type !== "text") return
          if (text === "") onFirst?.()
          text += delta.text
        }
        const deltas = Router.stream(route, prompt)
        const consumed = batches
          ? Stream.runForEachArray(deltas, (some) => Effect.sync(() => some.forEach(take)))
          : Stream.runForEach(deltas, (delta) => Effect.sync(() => take(delta)))
        return Effect.map(consumed, () => text)
      })
    )
})

const piped = async (response: Response): Promise<number> => {
  let size = 0
  await response.body?.pipeTo(
    new WritableStream<Uint8Array>({
      write: (chunk) => {
        size += chunk.length
      }
    })
  )
  return size
}

const leg = { provider: "openai", endpoint, query: { model, messages, stream: true } }

const passing = (runtime: Runtime, name: string): Passing => ({
  name,
  pass: () =>
    runtime
      .runPromise(
        Effect.map(
          Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg)),
          GatewayResponse.toWeb
        )
      )
      .then(piped)
})

/** Reads the beginning of an answer and leaves; returns the text so far. */
const abandoning = (runtime: Runtime) => (): Promise<string> =>
  runtime.runPromise(
    Router.stream(route, prompt).pipe(
      Stream.filter((delta) => delta.type === "text"),
      Stream.take(1),
      Stream.runFold(
        () => "",
        (text, delta) => text + delta.text
      )
    )
  )

/** All contenders, for an address of the upstream with its shape. `close` releases their resources. */
export const contenders = (base: string) => {
  const overFetch = runtimeOf(base, Clients.overFetch)
  const overUndici = runtimeOf(base, Clients.overUndici)
  const oursOverFetch = ours(overFetch, "ours over fetch", true)
  return {
    floor: handWritten(base, "hand-written"),
    again: handWritten(base, "hand-written again"),
    sdks: [openaiSdk(base), aiSdk(base)],
    ours: [
      oursOverFetch,
      ours(overFetch, "ours over fetch, delta by delta", false),
      ours(overUndici, "ours over undici", true)
    ],
    oursOverFetch,
    abandon: abandoning(overFetch),
    raw: { name: "fetch, piped", pass: () => request(base).then(piped) } satisfies Passing,
    rawAgain: { name: "fetch, piped again", pass: () => request(base).then(piped) } satisfies Passing,
    passing: [passing(overFetch, "ours over fetch, toWeb"), passing(overUndici, "ours over undici, toWeb")],
    close: async () => {
      await overFetch.dispose()
      await overUndici.dispose()
    }
  }
}

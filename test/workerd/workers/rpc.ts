/** A Worker that answers over RPC: methods that return streams, and a handler that calls them and leaves. */
import { WorkerEntrypoint } from "cloudflare:workers"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as AiService from "effect-ai-gateway/AiService"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
}

/** A stub of {@link Answers}. */
type Stub = { readonly [K in "response" | "body" | "permit"]: (name: string) => Promise<Response | ReadableStream> }

interface Context extends Worker.ExecutionContext {
  readonly exports: { readonly Answers: Stub }
}

const permits = Semaphore.makeUnsafe(1)

const worker = Worker.make({
  layer: (env: Env) => Layer.provideMerge(Router.layer, GatewayService.layerBinding(env.AI, { gateway: "gw" })),
  fetch: () => Effect.succeed(new Response())
})

const say = (prompt: string) =>
  GatewayService.GatewayService.use((gateway) =>
    gateway.run({
      provider: "openai",
      endpoint: "chat/completions",
      query: { model: "m", messages: [{ role: "user", content: prompt }] }
    })
  ).pipe(
    Effect.flatMap((response) => response.text),
    Effect.ignore
  )

const routed = (name: string) =>
  StreamResponse.fromRoute(Provider.groq.chat("m"), "x", { onEnd: ({ outcome }) => say(`${name} ${outcome}`) })

const permit = Effect.acquireRelease(permits.take(1), () => permits.release(1))

/** Ticks for as long as a permit is held. */
const ticks = (name: string) =>
  Stream.toReadableStreamEffect(
    Stream.tick("5 millis").pipe(
      Stream.map(() => "tick\n"),
      Stream.encodeText,
      Stream.ensuring(say(`${name} ended`)),
      (ticking) => Stream.scoped(Stream.concat(Stream.drain(Stream.fromEffect(permit)), ticking))
    )
  )

export class Answers extends WorkerEntrypoint<Env> {
  response(name: string): Promise<Response> {
    return worker.run(routed(name), this.env, this.ctx)
  }
  body(name: string): Promise<ReadableStream | null> {
    return worker.run(
      Effect.map(routed(name), ({ body }) => body),
      this.env,
      this.ctx
    )
  }
  permit(name: string): Promise<ReadableStream> {
    return worker.run(ticks(name), this.env, this.ctx)
  }
}

export default {
  fetch: async (request: Request, env: Env, ctx: Context): Promise<Response> => {
    const { pathname, searchParams } = new URL(request.url)
    const name = searchParams.get("name") ?? ""
    const method = pathname.slice(1)
    if (method === "free") {
      const one = permits.withPermitsIfAvailable(1)(Effect.void)
      return Response.json(
        await worker.run(
          Effect.map(one, ({ _tag }) => _tag),
          env,
          ctx
        )
      )
    }
    if (method !== "response" && method !== "body" && method !== "permit") return new Response(null, { status: 404 })
    const answer = await ctx.exports.Answers[method](name)
    const body = answer instanceof Response ? answer.body : answer
    const reader = body?.getReader()
    const first = await reader?.read()
    if (searchParams.has("cancel")) await reader?.cancel()
    return new Response(first?.value)
  }
}

/** The same work in all variants; the path selects one. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Worker from "effect-ai-gateway/worker"
import { bare, byHand, type Env, guarded, reply } from "./hand.ts"
import { library } from "./library.ts"

/** The library without the work: the cost of the entry itself. */
const empty = Worker.make({
  layer: (_: Env) => Layer.empty,
  fetch: (request) =>
    Effect.map(
      Effect.promise(() => request.text()),
      (text) => reply(text, null)
    )
})

export default {
  fetch: async (request: Request, env: Env, ctx: Worker.ExecutionContext): Promise<Response> => {
    switch (new URL(request.url).pathname) {
      case "/bare":
        return bare(request, env)
      case "/by-hand":
        return byHand(request, env)
      case "/guarded":
        return guarded(request, env)
      case "/library":
        return library.fetch(request, env, ctx)
      case "/empty":
        return empty.fetch(request, env, ctx)
      default:
        return reply(await request.text(), null)
    }
  }
}

/**
 * The conformance suites of both services inside the runtime. `GET /` names the tests, `POST /` runs one.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type { AiBinding } from "effect-ai-gateway/AiService"
import * as Worker from "effect-ai-gateway/worker"
import { suite as aiSuite } from "../../suites/AiSuite.ts"
import { suite as gatewaySuite } from "../../suites/GatewaySuite.ts"
import { answer, bind, genuine } from "../support/transports.ts"
import { tests } from "../support/vitest.ts"

gatewaySuite(genuine)
aiSuite(genuine)

interface Env {
  readonly AI: AiBinding
}

export default Worker.make({
  layer: (env: Env) => Layer.effectDiscard(Effect.sync(() => bind(env.AI))),
  fetch: Effect.fnUntraced(function* (request) {
    if (request.method === "GET") return Response.json([...tests.keys()])
    const name = yield* Effect.promise(() => request.text())
    const test = tests.get(name)
    if (test === undefined) return new Response(`no test ${name}`, { status: 404 })
    const exit = yield* Effect.exit(test)
    return Exit.isSuccess(exit) ? new Response("passed") : new Response(Cause.pretty(exit.cause), { status: 418 })
  })
})

const service = Worker.make({ layer: () => Layer.empty, fetch: answer, onFailure: () => dropped })
const dropped = new Response(null, { status: 599 })

/** Behind the binding. A connection that breaks off is an exception, as it is on a socket. */
export const Upstream = {
  fetch: async (request: Request, env: Env, ctx: Worker.ExecutionContext): Promise<Response> => {
    const response = await service.fetch(request, env, ctx)
    if (response.status === 599) throw new Error("Network connection lost.")
    return response
  }
}

/**
 * Bun brings an `undici` of its own. Its dispatchers have neither `dispatch` nor `destroy`.
 */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Undici from "effect-ai-gateway/undici"

const expected =
  "invalid dispatcher: expected a dispatcher of undici with a method `dispatch`; " +
  "the `undici` of Bun has none, so use `Transport.layerFetch` there"

/** The module as Bun ships it. */
const shim = `
import { EventEmitter } from "node:events"
export class Dispatcher extends EventEmitter {}
export class Agent extends Dispatcher {}
export const getGlobalDispatcher = () => new Agent()
export default { Agent, Dispatcher, getGlobalDispatcher }
`

const hooks = `
import { registerHooks } from "node:module"
const url = "data:text/javascript," + encodeURIComponent(${JSON.stringify(shim)})
registerHooks({ resolve: (name, context, next) => name === "undici" ? { url, shortCircuit: true } : next(name, context) })
`

const program = `
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Undici from "effect-ai-gateway/undici"
const exit = await Effect.runPromise(Effect.exit(Effect.scoped(Layer.build(Undici.layer))))
const reasons = Exit.isFailure(exit) ? exit.cause.reasons : []
console.log(JSON.stringify(reasons.map((reason) => [reason._tag, reason.error?._tag, reason.error?.reason.message])))
`

const moduleOf = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`

describe("the undici of Bun", () => {
  it.effect("fails the layer when it is built, and breaks nothing else", () =>
    Effect.gen(function* () {
      const args = ["--conditions=effect-ai-gateway-source", "--input-type=module", "--import", moduleOf(hooks)]
      const cwd = fileURLToPath(new URL("..", import.meta.url))
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, [...args, "--eval", program], { cwd })
      )
      assert.deepStrictEqual(JSON.parse(stdout), [["Fail", "GatewayError", expected]])
    })
  )

  it.effect("fails the layer over a dispatcher of the application, too", () =>
    Effect.gen(function* () {
      const shims: ReadonlyArray<object> = [{}, { dispatch: "none" }, Object.create({ request: () => {} })]
      for (const shim of shims) {
        // In Bun an application gets this in place of the real type.
        const dispatcher = Layer.succeed(NodeHttpClient.Dispatcher, shim as NodeHttpClient.Dispatcher["Service"])
        const { reason } = yield* Effect.flip(Layer.build(Layer.provide(Undici.layerWithDispatcher, dispatcher)))
        assert.strictEqual(reason.message, expected)
      }
    })
  )
})

/**
 * The registry where routers find the code that opens streams.
 *
 * Every router can open streams, and a bundle holds everything that its members name: this code would be a fifth of a
 * Worker that never streams. So no router names it; `Router.open`, which needs it anyway, registers it here.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { GatewayError } from "../../GatewayError.ts"
import type { Node } from "../route/node.ts"
import type { Planned } from "../route/plan.ts"
import type { RunOptions } from "./options.ts"
import type { RouterCore } from "./prepare.ts"
import type { Streamed } from "./streamed.ts"

/** The parts of a route that a run needs. */
export interface Routing<In, Out> {
  readonly node: Node<In, Out>
  readonly planned: Planned<In, Out>
}

/** Opens a streamed answer. */
export type OpenStream = <In, Out>(
  route: Routing<In, Out>,
  input: In,
  options?: RunOptions
) => Effect.Effect<Streamed, GatewayError, Scope.Scope>

type Opener = (core: RouterCore) => OpenStream

let known: Opener | undefined

/** Registers the code. */
export const setOpening = (open: Opener): void => {
  known = open
}

/** Opens streams over a gateway. */
export const opening =
  (core: RouterCore): OpenStream =>
  (...args) =>
    known === undefined
      ? Effect.die(new Error("a router that opens streams needs Router.open or Router.stream in its bundle"))
      : known(core)(...args)

/**
 * Measures a routed request inside workerd with the library of a checkout, of the same one again, and of this one, in
 * turns.
 */
import { Agent } from "node:http"
import * as Effect from "effect/Effect"
import type { Plugin } from "esbuild"
import { bundle } from "../../test/workerd/support/bundle.ts"
import * as Workerd from "../../test/workerd/support/workerd.ts"
import { shuffler } from "../measure.ts"
import { root as here } from "../results.ts"
import { cpuOf, load, makeService } from "../workerd/service.ts"

/** Bundles the library of a checkout with the packages of this one. */
const ofCheckout = (checkout: string): Plugin => ({
  name: "checkout",
  setup: ({ onResolve, resolve }) => {
    onResolve({ filter: /^[^.]/ }, ({ importer, kind, path, pluginData }) => {
      if (pluginData === "resolved") return undefined
      const resolveDir = path.startsWith("effect-ai-gateway")
        ? checkout
        : importer.startsWith(checkout)
          ? here
          : undefined
      return resolveDir === undefined
        ? undefined
        : resolve(path, { kind, importer, resolveDir, pluginData: "resolved" })
    })
  }
})

const codeOf = async (checkout: string | undefined): Promise<string> => {
  const plugins = checkout === undefined ? [] : [ofCheckout(checkout)]
  return (await bundle(new URL("../workerd/worker.ts", import.meta.url), { plugins })).code
}

/** Microseconds of CPU per request in each round: of the base, of the base again, and of this checkout. */
export interface WorkerdFigures {
  readonly well: readonly [ReadonlyArray<number>, ReadonlyArray<number>, ReadonlyArray<number>]
  readonly failing: readonly [ReadonlyArray<number>, ReadonlyArray<number>, ReadonlyArray<number>]
}

/** Measures all three. */
export const measureWorkerd = (base: string, quick: boolean): Promise<WorkerdFigures> =>
  Effect.gen(function* () {
    const requests = quick ? 300 : 1000
    const rounds = quick ? 3 : 9
    const service = yield* makeService
    const agent = yield* Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 16 })),
      (agent) => Effect.sync(() => agent.destroy())
    )
    const old = yield* Effect.promise(() => codeOf(base))
    const codes = [old, old, yield* Effect.promise(() => codeOf(undefined))]
    const workers = yield* Effect.forEach(codes, (code, index) =>
      Effect.map(Workerd.start({ code, ai: { AI: { url: service.url } } }), (worker) => ({ index, worker }))
    )
    const measured = async (failing: boolean): Promise<WorkerdFigures["well"]> => {
      service.state.fail = failing
      const samples: [Array<number>, Array<number>, Array<number>] = [[], [], []]
      for (const { worker } of workers) await load(agent, `${worker.url}/library`, 2 * requests)
      const shuffled = shuffler()
      for (let round = 0; round < rounds; round++) {
        for (const { index, worker } of shuffled(workers)) {
          const before = cpuOf(worker.pid)
          await load(agent, `${worker.url}/library`, requests)
          samples[index]?.push((cpuOf(worker.pid) - before) / requests)
        }
      }
      return samples
    }
    const well = yield* Effect.promise(() => measured(false))
    const failing = yield* Effect.promise(() => measured(true))
    return { well, failing }
  }).pipe(Effect.scoped, Effect.runPromise)

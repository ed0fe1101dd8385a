/**
 * Measures the heap per waiting call.
 */
import { start } from "../child.ts"
import type { Entry } from "../contenders/index.ts"
import { startUpstream, usualJob } from "../pool.ts"
import type { Command } from "./waiting.ts"

/** A waiting contender: one over the network, or a stub with or without the library. */
export type Who = Pick<Entry, "make" | "module"> | { readonly stub: "alone" | "ours" }

/** Number of calls and of waves. */
export interface Extent {
  readonly inFlight: number
  readonly waves: number
  /** The checkout whose library is used. */
  readonly root?: string | undefined
}

/** Calls that begin together; more would overflow the queue of connections to accept. */
const atOnce = 500

/** Longer than any operation here, so that no call gives up while the heap is collected. */
const timeout = 300_000

const until = async (enough: () => Promise<boolean>): Promise<void> => {
  const giveUp = performance.now() + 60_000
  while (!(await enough())) {
    if (performance.now() > giveUp) throw new Error("not all calls arrived within a minute")
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Kilobytes of heap per call, wave by wave. A first wave, which opens the connections, is excluded. */
export const heapPerCall = async (who: Who, { inFlight, root, waves }: Extent): Promise<ReadonlyArray<number>> => {
  const contender = await start(new URL("waiting.ts", import.meta.url), { root })
  // One upstream each: the ports of the previous connections are still in use.
  const upstream = await startUpstream()
  const tell = <A>(command: Command): Promise<A> => contender.ask<A>(command)
  try {
    const job = { ...usualJob, url: upstream.url("held", "held"), timeout }
    await tell(
      "stub" in who
        ? { tell: "stub", ours: who.stub === "ours" }
        : { tell: "begin", module: who.module, make: who.make, job }
    )
    const perCall: Array<number> = []
    for (let wave = 0; wave <= waves; wave++) {
      const before = await tell<number>({ tell: "heap" })
      for (let calls = 0; calls < inFlight; calls += atOnce) {
        const more = Math.min(atOnce, inFlight - calls)
        await tell({ tell: "call", calls: more })
        await until(async () => {
          const own = "stub" in who ? await tell<number>({ tell: "held" }) : await upstream.held()
          return own >= calls + more
        })
      }
      const used = (await tell<number>({ tell: "heap" })) - before
      if (wave > 0) perCall.push(used / inFlight / 1000)
      await upstream.release()
      await tell({ tell: "release" })
    }
    return perCall
  } finally {
    contender.close()
    upstream.close()
  }
}

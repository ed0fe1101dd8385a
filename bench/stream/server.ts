/** The upstream of the streams, `upstream.ts`, started for the time of its use. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { pathOf, type Shape } from "../upstream.ts"
import { contenders } from "./contenders.ts"

/** A running upstream. */
export interface Upstream {
  readonly origin: string
  /** Number of open connections. */
  readonly sockets: () => Promise<number>
}

/** Uses an upstream, and stops it. */
export const withUpstream = async <A>(use: (upstream: Upstream) => Promise<A>): Promise<A> => {
  const child = fork(fileURLToPath(new URL("../upstream.ts", import.meta.url)), {
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const answer = <B>(): Promise<B> => new Promise((resolve) => child.once("message", (message: B) => resolve(message)))
  try {
    const { port } = await answer<{ readonly port: number }>()
    const sockets = async (): Promise<number> => {
      const told = answer<{ readonly open: number }>()
      child.send({})
      return (await told).open
    }
    return await use({ origin: `http://127.0.0.1:${port}`, sockets })
  } finally {
    child.disconnect()
  }
}

/** All contenders, see `contenders.ts`. */
export type All = ReturnType<typeof contenders>

/** Uses all contenders at a shape. */
export const at = async <A>(origin: string, shape: Shape, use: (all: All) => Promise<A>): Promise<A> => {
  const all = contenders(`${origin}${pathOf(shape)}`)
  try {
    return await use(all)
  } finally {
    await all.close()
  }
}

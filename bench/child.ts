/**
 * Processes that answer questions: each measurement runs in its own, so that none inherits another's heap or warm-up.
 */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** A process that answers one question at a time. */
export interface Child {
  readonly ask: <A>(question: object) => Promise<A>
  /** Stops it and its children, and resumes them; only for a child with `pausable`. */
  readonly pause: () => void
  readonly resume: () => void
  /** Allows it to end. */
  readonly close: () => void
}

type Message = { readonly ready: true } | { readonly answer: unknown } | { readonly failure: string }

/** Flags that let the library's sources be found under its public name, and expose the collector. */
const execArgv = ["--conditions=effect-ai-gateway-source", "--expose-gc"]

const checkout = new URL("checkout.ts", import.meta.url).href

/** Stopped processes must be resumed when this process ends. */
const pausables = new Set<(signal: NodeJS.Signals) => void>()
process.once("exit", () => {
  for (const signal of pausables) signal("SIGKILL")
})

/** Options of a process. */
export interface Start {
  /** The checkout whose library it uses, instead of this one. */
  readonly root?: string | undefined
  /** Whether it leads its own process group, which can be stopped. */
  readonly pausable?: boolean
}

/** Starts a file that calls {@link serve}. Its failures and its end fail the current question. */
export const start = async (file: URL, { pausable = false, root }: Start = {}): Promise<Child> => {
  const path = fileURLToPath(file)
  const child = fork(path, [], {
    detached: pausable,
    execArgv: root === undefined ? execArgv : [...execArgv, "--import", checkout],
    env: root === undefined ? process.env : { ...process.env, BENCH_CHECKOUT: root },
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  let waiting: ((message: Message) => void) | undefined
  let ended: string | undefined
  const settle = (message: Message): void => {
    const waited = waiting
    waiting = undefined
    waited?.(message)
  }
  child.on("message", (message: Message) => settle(message))
  child.once("exit", (code, signal) => {
    ended = `${path.slice(path.lastIndexOf("/") + 1)} ended with ${code ?? signal}`
    settle({ failure: ended })
  })
  const next = (): Promise<Message> =>
    new Promise((resolve) => {
      waiting = resolve
      if (ended !== undefined) settle({ failure: ended })
    })
  /** Signals its whole group, while there is one. */
  const signal = (name: NodeJS.Signals): void => {
    if (!pausable || child.pid === undefined || ended !== undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {
      // It has ended, and its exit event follows.
    }
  }
  if (pausable) pausables.add(signal)
  child.once("exit", () => pausables.delete(signal))
  const first = await next()
  if ("failure" in first) throw new Error(first.failure)
  return {
    ask: async <A>(question: object): Promise<A> => {
      const answer = next()
      if (ended === undefined) child.send(question)
      const message = await answer
      if ("failure" in message) throw new Error(message.failure)
      return ("answer" in message ? message.answer : undefined) as A
    },
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    close: () => {
      if (child.connected) child.disconnect()
    }
  }
}

/** The other side: answers until the asker closes. `close` ends whatever would keep the process alive. */
export const serve = <Question>(answer: (question: Question) => unknown, close?: () => unknown): void => {
  const send = (message: Message): void => {
    process.send?.(message)
  }
  process.on("message", async (question: Question) => {
    try {
      send({ answer: await answer(question) })
    } catch (error) {
      send({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.once("disconnect", async () => {
    await close?.()
    process.exit()
  })
  send({ ready: true })
}

/** The heap in use after a full collection, in bytes. */
export const heapUsed = (): number => {
  if (globalThis.gc === undefined) throw new Error("needs --expose-gc")
  globalThis.gc()
  globalThis.gc()
  return process.memoryUsage().heapUsed
}

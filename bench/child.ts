/**
 * Processes that answer questions: what is measured runs in one of its own, so that nobody inherits another's heap or
 * warmth.
 */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** A process that answers one question at a time. */
export interface Child {
  readonly ask: <A>(question: object) => Promise<A>
  /** Stops it and what it has started, and lets them go on: only of a child with `pausable`. */
  readonly pause: () => void
  readonly resume: () => void
  /** Lets it end. */
  readonly close: () => void
}

type Message = { readonly ready: true } | { readonly answer: unknown } | { readonly failure: string }

/** What the library's sources need, to be found under its public name, and a collector that can be called. */
const execArgv = ["--conditions=effect-ai-gateway-source", "--expose-gc"]

const checkout = new URL("checkout.ts", import.meta.url).href

/** Nobody else would wake what is stopped when this process ends. */
const pausables = new Set<(signal: NodeJS.Signals) => void>()
process.once("exit", () => {
  for (const signal of pausables) signal("SIGKILL")
})

/** How a process is started. */
export interface Start {
  /** The checkout whose library it uses, instead of this one. */
  readonly root?: string | undefined
  /** It leads a process group of its own, which can be stopped. */
  readonly pausable?: boolean
}

/** Starts a file that calls {@link serve}. Its failures and its end are failures of the question that was asked. */
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
  /** To its whole group, while there is one. */
  const signal = (name: NodeJS.Signals): void => {
    if (!pausable || child.pid === undefined || ended !== undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {
      // It has ended, and that is about to be told.
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

/** The other side: answers until the asker lets go. `close` ends what would keep the process alive. */
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

/** The heap in use, in bytes, once everything that can be collected has been. */
export const heapUsed = (): number => {
  if (globalThis.gc === undefined) throw new Error("needs --expose-gc")
  globalThis.gc()
  globalThis.gc()
  return process.memoryUsage().heapUsed
}

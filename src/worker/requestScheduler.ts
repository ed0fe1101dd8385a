/**
 * Runs the fibers of one request in that request's context.
 *
 * A Workers isolate serves many requests, and the current request context determines which objects code may use: work
 * that starts in another request's context belongs to that request, dies with it, and cannot use this one's bodies.
 * Effect resumes a waiting fiber where the wait ended, so two requests that share a semaphore or a queue would end up
 * in each other's contexts and hang. With this scheduler, a fiber that is resumed elsewhere first returns to its own
 * request.
 */
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

/** See the module. */
export interface RequestScheduler extends Scheduler.Scheduler {
  /** Runs code that starts or resumes fibers. Call it in the context of the request. */
  readonly enter: <A>(self: () => A) => A
  /** Resolves when no task is waiting; `undefined` when none is. */
  readonly idle: () => Promise<void> | undefined
  /** Resolves when every fiber of the request has ended; `undefined` when there is none. */
  readonly ended: () => Promise<void> | undefined
  /** Interrupts every fiber of the request. */
  readonly interrupt: () => void
}

type Task = () => void

/** Consecutive rounds before the event loop gets a turn. */
const maxRounds = 64

/** Makes a signal that wakes everyone waiting at that time. */
const makeSignal = () => {
  let waiting: Array<Task> = []
  return {
    wait: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve)
      }),
    send: (): void => {
      const woken = waiting
      waiting = []
      for (const resolve of woken) resolve()
    }
  }
}

/** Cancels by dropping the task, because a microtask cannot be revoked. */
const cancellable = (task: Task, enqueue: (task: Task) => void): Task => {
  let cancelled = false
  enqueue(() => {
    if (!cancelled) task()
  })
  return () => {
    cancelled = true
  }
}

/**
 * Makes the scheduler of a request. Call it in the request's context. `onBusy` is called when the scheduler gets fibers
 * after it had none: fibers that feed a body appear only when the body is read.
 */
export const make = (onBusy?: (ended: Promise<void>) => void): RequestScheduler => {
  let tasks: Array<Task> = []
  let inside = false
  let isDraining = false
  let rounds = 0
  let ring: Task = () => {}
  const whenIdle = makeSignal()
  const fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  const whenEnded = makeSignal()

  const enter = <A>(self: () => A): A => {
    const before = inside
    inside = true
    try {
      return self()
    } finally {
      inside = before
    }
  }

  // A continuation of a promise runs in the context of the request that made the promise, whichever request resolves
  // it.
  const listen = (): void => {
    void new Promise<void>((resolve) => {
      ring = resolve
    }).then(() => {
      listen()
      if (++rounds < maxRounds) return drain()
      rounds = 0
      macrotask(drain)
    })
  }

  const drain = (): void => {
    const current = tasks
    tasks = []
    isDraining = false
    enter(() => {
      for (const task of current) task()
    })
    if (tasks.length === 0) whenIdle.send()
  }

  const watch = (fiber: Fiber.Fiber<unknown, unknown>): void => {
    if (fibers.has(fiber)) return
    fibers.add(fiber)
    if (fibers.size === 1) onBusy?.(whenEnded.wait())
    fiber.addObserver(() => {
      fibers.delete(fiber)
      if (fibers.size === 0) whenEnded.send()
    })
  }

  const mixed = new Scheduler.MixedScheduler("async", (task) =>
    cancellable(task, (task) => {
      tasks.push(task)
      if (isDraining) return
      isDraining = true
      ring()
    })
  )

  listen()
  return {
    executionMode: "async",
    shouldYield: (fiber) => {
      if (fiber.currentOpCount !== 1) return mixed.shouldYield(fiber)
      // The first operation after a fiber was resumed reveals where it was resumed.
      watch(fiber)
      return !inside
    },
    makeDispatcher: () => mixed.makeDispatcher(),
    enter,
    idle: () => (tasks.length === 0 ? undefined : whenIdle.wait()),
    ended: () => (fibers.size === 0 ? undefined : whenEnded.wait()),
    interrupt: () => {
      enter(() => {
        for (const fiber of [...fibers]) fiber.interruptUnsafe()
      })
    }
  }
}

const { setImmediate: macrotask } = new Scheduler.MixedScheduler("async")

/**
 * For work that belongs to no request, such as building layers. It runs immediately in the context that wakes it, so
 * that no wake-up is lost with the request that caused it.
 */
export const isolate: Scheduler.Scheduler = new Scheduler.MixedScheduler("async", (task) =>
  cancellable(task, queueMicrotask)
)

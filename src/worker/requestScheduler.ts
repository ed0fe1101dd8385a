/**
 * Runs the fibers of one request in the turn of that request.
 *
 * A Workers isolate serves many requests, and what a piece of code may touch depends on whose turn it is: work that
 * starts in another request's turn belongs to that request, dies with it, and cannot use this one's bodies. Effect
 * resumes a waiting fiber where the wait ended, so two requests that share a semaphore or a queue would end up in each
 * other's turns, and hang. Here a fiber that is resumed anywhere else first steps back into its own request.
 */
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

/** See the module. */
export interface RequestScheduler extends Scheduler.Scheduler {
  /** Runs something that starts or resumes fibers. Must be called in the turn of the request. */
  readonly enter: <A>(self: () => A) => A
  /** Resolves when nothing waits to be run; `undefined` when nothing does. */
  readonly idle: () => Promise<void> | undefined
  /** Resolves when every fiber of the request has ended; `undefined` when none is left. */
  readonly ended: () => Promise<void> | undefined
  /** Interrupts every fiber of the request. */
  readonly interrupt: () => void
}

type Task = () => void

/** How many rounds may follow each other before the event loop has a say. */
const maxRounds = 64

/** Wakes those who wait by then. */
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

/** Cancels by forgetting, because a microtask cannot be taken back. */
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
 * Makes the scheduler of a request. Must be called in the turn of the request. `onBusy` is called when it has fibers,
 * after it had none: those that feed a body are not known before somebody reads it.
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

  // What waits for a promise runs in the turn of the request that made the promise, whoever resolves it.
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
      // The first operation after a fiber was resumed is the place to notice where that happened.
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
 * For what belongs to no request, the building of layers: woken in the turn that wakes it, at once, so that no wake-up
 * is lost with the request that it came from.
 */
export const isolate: Scheduler.Scheduler = new Scheduler.MixedScheduler("async", (task) =>
  cancellable(task, queueMicrotask)
)

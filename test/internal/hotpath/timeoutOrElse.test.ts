import { assert, describe, it, type MockInstance, vi } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { timeoutOrElse } from "../../../src/internal/hotpath/timeoutOrElse.ts"

const late = (millis: number) => `after ${millis}`

const Word = Context.Reference<string>("test/Word", { defaultValue: () => "nowhere" })

/** Never ends; when interrupted, it takes the given milliseconds more. Events are recorded in order. */
const slow = (millis: number) => {
  const told: Array<string> = []
  const cleaned = Effect.andThen(
    Effect.sleep(millis),
    Effect.sync(() => told.push("cleaned"))
  )
  const self = Effect.onInterrupt(Effect.never, () => cleaned)
  const limited = Effect.onExit(timeoutOrElse(self, 10, late), () => Effect.sync(() => told.push("ended")))
  return { limited, told }
}

/** The timers of the given milliseconds that are set and neither cleared nor over, until the scope ends. */
const timersOf = (millis: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const open = new Set<unknown>()
      const { clearTimeout, setTimeout } = globalThis
      const set = (act: () => void, after: number) => {
        const timer = setTimeout(() => {
          open.delete(timer)
          act()
        }, after)
        if (after === millis) open.add(timer)
        return timer
      }
      const clear = (timer: NodeJS.Timeout) => {
        open.delete(timer)
        clearTimeout(timer)
      }
      Object.assign(globalThis, { setTimeout: set, clearTimeout: clear })
      return { open, restore: () => Object.assign(globalThis, { setTimeout, clearTimeout }) }
    }),
    ({ restore }) => Effect.sync(restore)
  ).pipe(Effect.map(({ open }) => open))

describe("within", () => {
  it.effect("is the effect itself without a limit", () =>
    Effect.sync(() => {
      const self = Effect.succeed(1)
      assert.strictEqual(timeoutOrElse(self, undefined, late), self)
    })
  )

  it.effect("ends as the effect does, with its environment", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.provideService(timeoutOrElse(Word, 10, late), Word, "here"), "here")
      assert.strictEqual(yield* Effect.flip(timeoutOrElse(Effect.fail("no"), 10, late)), "no")
      const died = yield* Effect.exit(timeoutOrElse(Effect.die("bug"), 10, late))
      assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
      const slept = yield* Effect.forkChild(timeoutOrElse(Effect.as(Effect.sleep(9), "done"), 10, late))
      yield* TestClock.adjust(9)
      assert.strictEqual(yield* Fiber.join(slept), "done")
    })
  )

  it.effect("leaves no observer of its fiber behind, which would retain the answer", () =>
    Effect.gen(function* () {
      let observed: MockInstance | undefined
      const self = Effect.withFiber((fiber) => {
        observed = vi.spyOn(fiber, "addObserver")
        return Effect.as(Effect.sleep(5), "answer")
      })
      const limited = yield* Effect.forkChild(timeoutOrElse(self, 10, late), { startImmediately: true })
      yield* TestClock.adjust(5)
      assert.strictEqual(yield* Fiber.join(limited), "answer")
      assert.strictEqual(observed?.mock.calls.length, 0)
    })
  )

  it.effect("interrupts an effect that takes longer, and fails when its finalizers are done", () =>
    Effect.gen(function* () {
      const { limited, told } = slow(5)
      const fiber = yield* Effect.forkChild(Effect.flip(limited))
      yield* TestClock.adjust(9)
      assert.strictEqual(fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(told, [])
      yield* TestClock.adjust(5)
      assert.strictEqual(yield* Fiber.join(fiber), "after 10")
      assert.deepStrictEqual(told, ["cleaned", "ended"])
    })
  )

  it.effect("passes an interruption on, waits for the finalizers, and does not fail in its place", () =>
    Effect.gen(function* () {
      const { limited, told } = slow(50)
      const fiber = yield* Effect.forkChild(limited, { startImmediately: true })
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      // Longer than the limit, so that its end does not come in between.
      yield* TestClock.adjust(49)
      assert.strictEqual(fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      yield* Fiber.join(interrupting)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual(told, ["cleaned", "ended"])
    })
  )

  it.effect("waits for the finalizers also when it is interrupted while it fails", () =>
    Effect.gen(function* () {
      const { limited, told } = slow(50)
      const fiber = yield* Effect.forkChild(limited)
      yield* TestClock.adjust(20)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(told, [])
      yield* TestClock.adjust(20)
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(told, ["cleaned", "ended"])
    })
  )

  it.effect("waits for an uninterruptible effect", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(timeoutOrElse(Effect.uninterruptible(Effect.as(Effect.sleep(30), "done")), 10, late))
      )
      yield* TestClock.adjust(29)
      assert.strictEqual(fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "after 10")
    })
  )

  it.live("leaves no timer behind that would keep the process alive", () =>
    Effect.gen(function* () {
      // The runner has timers of its own, which come and go.
      const open = yield* timersOf(60_000)
      for (let i = 0; i < 20; i++) yield* timeoutOrElse(Effect.yieldNow, 60_000, late)
      yield* Effect.ignore(timeoutOrElse(Effect.andThen(Effect.yieldNow, Effect.fail("no")), 60_000, late))
      const fiber = yield* Effect.forkChild(timeoutOrElse(Effect.never, 60_000, late), { startImmediately: true })
      assert.strictEqual(open.size, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(open.size, 0)
    })
  )
})

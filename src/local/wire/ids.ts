/**
 * Lower-case UUIDv7s from the Effect clock and random generator, so that tests can fix both.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/**
 * A generator of ids. The twelve bits after the version are a counter: ids made within one millisecond keep their
 * order, and stay distinct when a test restarts the same random seed.
 */
export const make = (): Effect.Effect<string> => {
  let counter = 0
  return Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const random = yield* Random.Random
    counter = (counter + 1) % 0x1000
    const bits = (count: number): number => Math.floor(random.nextDoubleUnsafe() * 2 ** count)
    const time = hex(Math.max(0, Math.floor(now)), 12)
    const variant = hex(0x8000 + bits(14), 4)
    return `${time.slice(0, 8)}-${time.slice(8, 12)}-7${hex(counter, 3)}-${variant}-${hex(bits(24), 6)}${hex(bits(24), 6)}`
  })
}

import { assert, describe, it } from "@effect/vitest"
import { type WaitClass, type Waiting, WaitQueue } from "../../../src/internal/admission/waitQueue.ts"
import { assertLinear } from "../../support/growth.ts"

const needs = { requests: 1, tokens: 5, place: true }
const waiting = (own: WaitClass, since: number): Waiting => ({ class: own, needs, since })

/** The definition: all waiters in one list, sorted each time. */
const ranked = (all: ReadonlyArray<Waiting>, now: number): ReadonlyArray<Waiting> => {
  const rank = (one: Waiting) =>
    one.class === "urgent" ? 0 : one.class === "interactive" || now - one.since >= 30_000 ? 1 : 2
  return all.toSorted((a, b) => rank(a) - rank(b) || a.since - b.since)
}

describe("a queue", () => {
  it("admits repeats first, then interactive ones, then the background", () => {
    const queue = new WaitQueue<Waiting>()
    const all = [waiting("background", 0), waiting("interactive", 1), waiting("urgent", 2), waiting("interactive", 3)]
    for (const one of all) queue.add(one)
    const order: Array<number> = []
    for (let head = queue.head(10); head !== undefined; head = queue.head(10)) {
      order.push(all.indexOf(head))
      queue.delete(head)
    }
    assert.deepStrictEqual(order, [2, 1, 3, 0])
  })

  it("counts the background as interactive after 30 seconds", () => {
    const queue = new WaitQueue<Waiting>()
    const old = waiting("background", 0)
    queue.add(old)
    queue.add(waiting("interactive", 1))
    assert.notStrictEqual(queue.head(29_999), old)
    assert.strictEqual(queue.head(30_000), old)
    assert.isFalse(new WaitQueue<Waiting>().isBehind("interactive", 0))
    queue.delete(old)
  })

  it("agrees with a sorted list about the next waiter, those before a newcomer, and which must leave", () => {
    let seed = 7
    const random = () => {
      seed = (seed * 1664525 + 1013904223) % 2 ** 32
      return seed / 2 ** 32
    }
    const classes: ReadonlyArray<WaitClass> = ["urgent", "interactive", "background"]
    const pick = () => classes[Math.floor(random() * 3)] ?? "urgent"
    const queue = new WaitQueue<Waiting>()
    let all: ReadonlyArray<Waiting> = []
    let now = 0
    for (let step = 0; step < 4_000; step++) {
      now += Math.floor(1 + random() * 4_000)
      const before = ranked(all, now)
      assert.strictEqual(queue.size, all.length)
      assert.strictEqual(queue.head(now), before[0])
      const own = pick()
      const comes = waiting(own, now)
      const withNew = ranked([...all, comes], now)
      assert.strictEqual(queue.isBehind(own, now), withNew[0] !== comes)
      const last = withNew.at(-1)
      assert.strictEqual(queue.victim(own, now), last === comes ? undefined : last, own)
      if (random() < 0.5 && all.length < 40) {
        queue.add(comes)
        all = [...all, comes]
      } else if (all.length > 0) {
        const leaves = all[Math.floor(random() * all.length)] ?? comes
        assert.isTrue(queue.delete(leaves))
        assert.isFalse(queue.delete(leaves))
        all = all.filter((one) => one !== leaves)
      }
      const older = all.filter((one) => classes.indexOf(one.class) <= classes.indexOf(own))
      assert.deepStrictEqual(queue.ahead(own), {
        requests: older.length,
        tokens: older.length * 5,
        places: older.length
      })
    }
  })

  it("finds the next waiter, and which must leave, however many wait or have left", () => {
    assertLinear("a queue that empties", 1_000, (size) => {
      const all = Array.from({ length: size }, (_, at) => waiting("interactive", at))
      return () => {
        const queue = new WaitQueue<Waiting>()
        for (const one of all) queue.add(one)
        for (let head = queue.head(0); head !== undefined; head = queue.head(0)) queue.delete(head)
      }
    })
    assertLinear("a queue that is full", 100, (size) => {
      const queue = new WaitQueue<Waiting>()
      for (let at = 0; at < size; at++) queue.add(waiting("background", at))
      return () => {
        for (let at = 0; at < size; at++) queue.victim("interactive", 0)
      }
    })
  })
})

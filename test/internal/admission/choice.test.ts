import { assert, describe, it } from "@effect/vitest"
import { boundedCap, type Choosing, hash, order, weightProblems } from "../../../src/internal/admission/choice.ts"

const keys = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, i) => `session-${i}`)

const bySession = (
  session: string,
  names: ReadonlyArray<string>,
  weights: ReadonlyArray<number> = names.map(() => 1),
  inFlight: ReadonlyArray<number> = names.map(() => 0),
  open?: ReadonlyArray<boolean>
): ReadonlyArray<string> =>
  order({ by: "session", session, names, weights, inFlight, open }).map((i) => names[i] ?? "?")

/** How often each child is first. */
const firsts = (children: number, orders: Iterable<ReadonlyArray<number>>): Array<number> => {
  const counts = Array.from({ length: children }, () => 0)
  for (const [first = -1] of orders) counts[first] = (counts[first] ?? 0) + 1
  return counts
}

const times = <A>(count: number, make: (i: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => make(i))

const whole = (below: number): number => Math.floor(Math.random() * below)

/** Compares counts with their expected values, within four standard deviations. */
const near = (counts: ReadonlyArray<number>, expected: ReadonlyArray<number>): void => {
  const total = expected.reduce((a, b) => a + b, 0)
  counts.forEach((count, i) => {
    const mean = expected[i] ?? 0
    const bound = 4 * Math.sqrt(mean * (1 - mean / total)) + 1
    assert.isAtMost(Math.abs(count - mean), bound, `child ${i}: ${count}, expected about ${mean}`)
  })
}

describe("session", () => {
  it("hashes to the values of the reference model", () => {
    assert.deepStrictEqual([hash(""), hash("a")], [2_872_998_923, 444_641_715])
  })

  it.each([
    ["session-1", "c b a"],
    ["session-2", "b a c"],
    ["session-3", "b a c"],
    ["session-4", "c a b"]
  ])("orders %s as the reference model does", (session, expected) => {
    assert.strictEqual(bySession(session, ["a", "b", "c"]).join(" "), expected)
  })

  it("gives each target sessions in proportion to its weight", () => {
    const names = ["a", "b", "c", "d"]
    const counts = names.map(() => 0)
    for (const key of keys(20_000)) {
      const at = names.indexOf(bySession(key, names, [5, 3, 1, 1])[0] ?? "")
      counts[at] = (counts[at] ?? 0) + 1
    }
    near(counts, [10_000, 6000, 2000, 2000])
  })

  it("moves only the sessions of a target that is removed, and moves them back when it returns", () => {
    const names = ["openai/gpt-4.1", "anthropic/claude", "google/gemini", "openai/gpt-4.1#2"]
    const weights = [5, 3, 1, 1]
    for (const removed of names) {
      const left = names.filter((name) => name !== removed)
      const leftWeights = weights.filter((_, i) => names[i] !== removed)
      for (const key of keys(2000)) {
        const before = bySession(key, names, weights)
        assert.deepStrictEqual(
          bySession(key, left, leftWeights),
          before.filter((name) => name !== removed)
        )
        // An open breaker is the same as a removal, with the target as the last resort.
        const open = names.map((name) => name === removed)
        const idle = names.map(() => 0)
        const moved = [...before.filter((name) => name !== removed), removed]
        assert.deepStrictEqual(bySession(key, names, weights, idle, open), moved)
      }
    }
  })

  it("does not depend on the order in which targets are declared", () => {
    for (const key of keys(500)) {
      assert.deepStrictEqual(bySession(key, ["c", "a", "b"]), bySession(key, ["a", "b", "c"]))
    }
  })

  it.each([
    [0, 1],
    [3, 2],
    [7, 3],
    [15, 5],
    [31, 10],
    [99, 32]
  ])("lets a quarter hold, with %d in flight, %d", (inFlight, cap) => {
    assert.strictEqual(boundedCap(inFlight, 1 / 4), cap)
  })

  it("never takes a target above its bound, whichever key is hot", () => {
    for (const weights of [
      [1, 1, 1, 1],
      [5, 3, 1, 1],
      [1, 0, 1, 7],
      [2.5, 0.1, 3, 1e-3]
    ]) {
      const names = ["a", "b", "c", "d"]
      const inFlight = names.map(() => 0)
      const sum = weights.reduce((a, b) => a + b, 0)
      for (let step = 0; step < 2000; step++) {
        const total = inFlight.reduce((a, b) => a + b, 0)
        if (total > 0 && Math.random() < 0.4) {
          const busy = times(4, (i) => i).filter((i) => (inFlight[i] ?? 0) > 0)
          const left = busy[whole(busy.length)] ?? 0
          inFlight[left] = (inFlight[left] ?? 0) - 1
          continue
        }
        const session = Math.random() < 0.9 ? "hot" : `other-${whole(100)}`
        const [first = -1] = order({ by: "session", session, names, weights, inFlight })
        inFlight[first] = (inFlight[first] ?? 0) + 1
        const share = (weights[first] ?? 0) / sum
        assert.isAtMost(inFlight[first] ?? 0, boundedCap(total, share), `${weights.join(",")} after ${step} steps`)
      }
    }
  })

  it("keeps a session at its target while the load is fair", () => {
    for (const key of keys(200)) {
      assert.strictEqual(bySession(key, ["a", "b"], [9, 1], [90, 10])[0], bySession(key, ["a", "b"], [9, 1])[0])
    }
  })

  it("counts neither the load nor the share of a target that is open", () => {
    // A lone target takes everything; requests that hang at the open one give it no extra room.
    for (const key of keys(50)) {
      assert.deepStrictEqual(bySession(key, ["a", "b"], [1, 1], [500, 500], [true, false]), ["b", "a"])
      const three = bySession(key, ["a", "b", "c"], [1, 1, 1], [10_000, 4, 0], [true, false, false])
      assert.deepStrictEqual(three, ["c", "b", "a"])
    }
  })

  it("keeps a full target as a fallback before open ones and those of weight 0", () => {
    const names = ["a", "b", "c", "d"]
    const placed = bySession("x", names, [1, 1, 1, 0], [9, 0, 0, 0], [false, false, true, false])
    assert.deepStrictEqual(placed, ["b", "a", "c", "d"])
  })
})

describe("weight", () => {
  const draws = (count: number, weights: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> =>
    times(count, () => order({ by: "weight", weights, draw: Math.random() }))

  it("chooses in proportion to the weights, and the second as if the first was not there", () => {
    const weights = [5, 3, 1, 1]
    const orders = draws(40_000, weights)
    near(firsts(4, orders), [20_000, 12_000, 4000, 4000])
    const afterFirst = orders.filter(([first]) => first === 0)
    const second = firsts(
      4,
      afterFirst.map(([, ...rest]) => rest)
    )
    near(
      second,
      [0, 3 / 5, 1 / 5, 1 / 5].map((share) => share * afterFirst.length)
    )
  })

  it("counts one target twice when two children are the same", () => {
    near(firsts(3, draws(30_000, [1, 1, 1])), [10_000, 10_000, 10_000])
  })

  it("accepts any draw", () => {
    for (const draw of [0, 2 ** -53, 0.5, 1 - 2 ** -53]) {
      assert.deepStrictEqual(
        order({ by: "weight", weights: [1, 2, 0], draw })
          .slice()
          .sort(),
        [0, 1, 2]
      )
    }
  })
})

describe("roundRobin", () => {
  const rounds = (weights: ReadonlyArray<number>, count: number): string => {
    const credits = new Float64Array(weights.length)
    return times(count, () => "abcd"[order({ by: "roundRobin", weights, credits })[0] ?? -1]).join("")
  }

  it.each([
    [[5, 1, 1], "aabacaaaabacaa"],
    [[3, 2], "ababaababa"],
    [[1, 1, 1], "abcabc"],
    [[0, 1], "bbbb"]
  ] as const)("takes turns by %j", (weights, expected) => {
    assert.strictEqual(rounds(weights, expected.length), expected)
  })

  it("gives each child its exact share in each full round", () => {
    for (let run = 0; run < 50; run++) {
      const weights = times(1 + whole(5), () => 1 + whole(9))
      const total = weights.reduce((a, b) => a + b, 0)
      const credits = new Float64Array(weights.length)
      const orders = times(total * 3, () => order({ by: "roundRobin", weights, credits }))
      assert.deepStrictEqual(
        firsts(weights.length, orders),
        weights.map((weight) => weight * 3)
      )
      assert.deepStrictEqual(
        [...credits],
        weights.map(() => 0)
      )
    }
  })

  it("gives an open child no turns, and no arrears when it returns", () => {
    const credits = new Float64Array(3)
    const turn = (open?: ReadonlyArray<boolean>): number =>
      order({ by: "roundRobin", weights: [1, 1, 1], credits, open })[0] ?? -1
    assert.deepStrictEqual(
      times(6, () => turn([true, false, false])),
      [1, 2, 1, 2, 1, 2]
    )
    assert.deepStrictEqual(
      times(6, () => turn()),
      [0, 1, 2, 0, 1, 2]
    )
  })

  it("does not change the credits while all children are open", () => {
    const credits = new Float64Array([1, -1])
    assert.deepStrictEqual(order({ by: "roundRobin", weights: [1, 1], credits, open: [true, true] }), [0, 1])
    assert.deepStrictEqual([...credits], [1, -1])
  })
})

describe("leastInFlight", () => {
  it.each([
    [
      [1, 1, 1],
      [2, 0, 1],
      [1, 2, 0]
    ],
    [
      [1, 1, 1],
      [0, 0, 0],
      [0, 1, 2]
    ],
    // (4 + 1) / 2 = 2.5, (0 + 1) / 1 = 1, (3 + 1) / 4 = 1
    [
      [2, 1, 4],
      [4, 0, 3],
      [1, 2, 0]
    ],
    [
      [1, 4],
      [0, 3],
      [0, 1]
    ],
    [
      [0, 1],
      [0, 50],
      [1, 0]
    ]
  ] as const)("with weights %j and %j in flight orders %j", (weights, inFlight, expected) => {
    assert.deepStrictEqual(order({ by: "leastInFlight", weights, inFlight }), [...expected])
  })
})

describe("latency", () => {
  const ask = (loads: ReadonlyArray<number>, draw: number, open?: ReadonlyArray<boolean>): ReadonlyArray<number> =>
    order({ by: "latency", weights: loads.map(() => 1), loads, draw, open })

  it("draws every pair equally often, and puts the less loaded of the two first", () => {
    const orders = times(60_000, () => ask([10, 20, 30], Math.random()))
    // Of three pairs, the lowest wins two, the middle one the third.
    near(firsts(3, orders), [40_000, 20_000, 0])
  })

  it("orders the rest by load", () => {
    for (let i = 0; i < 200; i++) {
      const loads = times(5, () => Math.random() * 100)
      const [, ...rest] = ask(loads, Math.random())
      assert.deepStrictEqual(
        rest,
        [...rest].sort((a, b) => (loads[a] ?? 0) - (loads[b] ?? 0))
      )
    }
  })

  it("distributes the first requests when nothing is known", () => {
    near(
      firsts(
        2,
        times(10_000, () => ask([0, 0], Math.random()))
      ),
      [5000, 5000]
    )
  })

  it("avoids a target with requests pending that has never answered", () => {
    for (let i = 0; i < 50; i++) {
      const infinite = Number.POSITIVE_INFINITY
      assert.deepStrictEqual(ask([infinite, 900], Math.random()), [1, 0])
    }
  })

  it("counts a load by weight", () => {
    const doubled = order({ by: "latency", weights: [1, 4], loads: [100, 300], draw: 0.1 })
    assert.deepStrictEqual(doubled, [1, 0])
  })

  it("chooses only among targets that are not open", () => {
    for (let i = 0; i < 100; i++) {
      assert.deepStrictEqual(ask([1, 50, 40], Math.random(), [true, false, false]), [2, 1, 0])
    }
    assert.deepStrictEqual(ask([1], 0.9), [0])
    assert.deepStrictEqual(ask([7, 3], 0.9, [true, true]), [1, 0])
  })
})

describe("every strategy", () => {
  const random = (children: number): ReadonlyArray<Choosing> => {
    const weights = times(children, () => (Math.random() < 0.2 ? 0 : Math.random() * 10))
    const open = times(children, () => Math.random() < 0.3)
    const inFlight = times(children, () => whole(20))
    const shared = { weights, open: Math.random() < 0.5 ? open : undefined }
    const draw = Math.random()
    return [
      { by: "weight", draw, ...shared },
      { by: "session", session: `s${whole(1e6)}`, names: times(children, (i) => `t${i}`), inFlight, ...shared },
      { by: "roundRobin", credits: Float64Array.from(inFlight), ...shared },
      { by: "leastInFlight", inFlight, ...shared },
      { by: "latency", draw, loads: inFlight, ...shared }
    ]
  }

  it("names each child once: callable ones, then open ones, then those of weight 0", () => {
    for (let run = 0; run < 400; run++) {
      const children = whole(8)
      for (const choosing of random(children)) {
        const ordered = order(choosing)
        assert.deepStrictEqual(
          [...ordered].sort((a, b) => a - b),
          times(children, (i) => i)
        )
        const groups = ordered.map((i) => (choosing.weights[i] === 0 ? 2 : 0) + (choosing.open?.[i] === true ? 1 : 0))
        assert.deepStrictEqual(groups, [...groups].sort(), `${choosing.by}: ${JSON.stringify(choosing)}`)
      }
    }
  })
})

describe("weights", () => {
  it.each([
    [[1, 2], 3, "weights", "one per route: 3"],
    [[1, -1], 2, "weights[1]", "a number from 0 to 1000000"],
    [[Number.NaN, 1], 2, "weights[0]", "a number from 0 to 1000000"],
    [[1, Number.POSITIVE_INFINITY], 2, "weights[1]", "a number from 0 to 1000000"],
    [[0, 0], 2, "weights", "at least one weight above 0"]
  ] as const)("%j for %d routes are a problem of %s", (weights, children, field, accepted) => {
    assert.deepStrictEqual(weightProblems(weights, children), [{ field, accepted }])
  })

  it("may be fractions and 0", () => {
    assert.deepStrictEqual(weightProblems([0, 0.5, 1e6], 3), [])
  })
})

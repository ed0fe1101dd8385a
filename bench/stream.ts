/**
 * What streaming costs, against a loop written by hand over `fetch` (the floor), the OpenAI SDK and the AI SDK, all
 * reading the same bytes from an upstream in another process:
 *
 *     node --conditions=effect-ai-gateway-source bench/stream.ts [--quick] [--heap] [--write]
 *
 * Contenders take turns in one process. Printed are medians over the rounds, with quartiles. It takes three minutes;
 * `--quick` takes less than one, and is for a look; `--heap` watches the heap over 10,000 streams, half of them abandoned;
 * `--write` puts the tables into `docs/streaming.md`. Every contender is first asked for the right text. Targets are
 * printed as met or not met; a target that is not met does not fail the program, wrong text does.
 */
import { fork } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { fileOf, render } from "../docs/generate.ts"
import * as Measure from "./measure.ts"
import { contenders, type Passing, type Reading } from "./streamContenders.ts"
import { bytesOf, pathOf, type Shape, textOf } from "./upstream.ts"

const quick = process.argv.includes("--quick")

const decoding: Measure.Settings = { rounds: quick ? 7 : 31, turn: 100, inFlight: 8 }
const firstToken = { blocks: quick ? 3 : 11, calls: quick ? 10 : 20 }
const heap = { streams: 10_000, every: 1_000, inFlight: 16 }

const targets = { decoded: 1.5, passThrough: 0.95, firstToken: 1.05 }

const shapes = {
  each: { events: 100, perChunk: 1, delay: 0 },
  longer: { events: 500, perChunk: 1, delay: 0 },
  packed: { events: 100, perChunk: 20, delay: 0 },
  atOnce: { events: 20, perChunk: 1, delay: 0, special: "alone" },
  thinking: { events: 20, perChunk: 1, delay: 20, special: "alone" },
  long: { events: 20_000, perChunk: 1, delay: 0 },
  open: { events: 100, perChunk: 1, delay: 0, special: "open" }
} satisfies Record<string, Shape>

const out: Array<string> = []
const say = (text = ""): void => {
  out.push(text)
  console.log(text)
}

const verdict = (claim: string, met: boolean): void => say(`${met ? "met     " : "NOT MET "} ${claim}`)

const check = async ({ name, read }: Reading, shape: Shape): Promise<void> => {
  const expected = textOf(shape.events)
  let first = 0
  const text = await read(() => {
    first++
  })
  if (text !== expected) throw new Error(`${name}: ${text.length} characters, expected ${expected.length}`)
  if (first !== 1) throw new Error(`${name}: the first token came ${first} times`)
}

const checkPassing = async ({ name, pass }: Passing, shape: Shape): Promise<void> => {
  const size = await pass()
  if (size !== bytesOf(shape.events)) throw new Error(`${name}: ${size} bytes, expected ${bytesOf(shape.events)}`)
}

type All = ReturnType<typeof contenders>

/** Runs something with everybody at a shape. */
const at = async (origin: string, shape: Shape, use: (all: All) => Promise<void>): Promise<void> => {
  const all = contenders(`${origin}${pathOf(shape)}`)
  try {
    await use(all)
  } finally {
    await all.close()
  }
}

const decoded = (origin: string, title: string, shape: Shape): Promise<void> =>
  at(origin, shape, async ({ again, floor, ours, oursOverFetch, sdks }) => {
    const readers = [floor, again, ...sdks, ...ours]
    for (const reader of readers) await check(reader, shape)
    const samples = await Measure.alternate(
      readers.map(({ name, read }) => ({
        name,
        call: async () => {
          const text = await read()
          if (text.length !== textOf(shape.events).length) throw new Error(`${name}: wrong text`)
        }
      })),
      decoding
    )
    const of = (reader: Reading) => samples.get(reader.name) ?? []
    say(`\n## Decoded events: ${title}\n`)
    const rows = readers.map((reader) => {
      const own = of(reader)
      return [
        reader.name,
        Math.round(Measure.median(own.map(Measure.perSecond)) * shape.events).toLocaleString("en"),
        (Measure.median(own.map(Measure.cpuPerCall)) / shape.events).toFixed(2),
        Measure.written(Measure.ratios(own, of(floor), Measure.perSecond)),
        Measure.written(Measure.ratios(own, of(floor), Measure.cpuPerCall))
      ]
    })
    say(
      Measure.columns([
        ["", "events/s", "CPU µs/event", "events/s against the floor", "CPU against the floor"],
        ...rows
      ])
    )
    say()
    const fastest = sdks.toSorted(
      (a, b) => Measure.median(of(b).map(Measure.perSecond)) - Measure.median(of(a).map(Measure.perSecond))
    )[0]
    if (fastest === undefined) return
    for (const reader of ours) {
      const speed = Measure.ratios(of(reader), of(fastest), Measure.perSecond)
      const cpu = Measure.ratios(of(fastest), of(reader), Measure.cpuPerCall)
      const line = `${reader.name}: ${Measure.written(speed)} times the events of the ${fastest.name}, its CPU ${Measure.written(cpu)} times ours`
      if (reader === oursOverFetch) verdict(`${line} (at least ${targets.decoded})`, speed.median >= targets.decoded)
      else say(`         ${line}`)
    }
  })

/** Milliseconds until the first text, one call at a time, in blocks; contenders take turns by the call. */
const latencies = async (readers: ReadonlyArray<Reading>): Promise<ReadonlyMap<string, ReadonlyArray<number>>> => {
  const medians = new Map<string, Array<number>>(readers.map(({ name }) => [name, []]))
  const shuffled = Measure.shuffler()
  for (let block = -1; block < firstToken.blocks; block++) {
    const taken = new Map<string, Array<number>>(readers.map(({ name }) => [name, []]))
    for (let call = 0; call < firstToken.calls; call++) {
      for (const { name, read } of shuffled(readers)) {
        // What one leaves behind must not be the next one's burden.
        await new Promise((resolve) => setTimeout(resolve, 1))
        const before = performance.now()
        await read(() => taken.get(name)?.push(performance.now() - before))
      }
    }
    // The first block warms up.
    if (block >= 0) for (const { name } of readers) medians.get(name)?.push(Measure.median(taken.get(name) ?? []))
  }
  return medians
}

const first = (origin: string, title: string, shape: Shape): Promise<void> =>
  at(origin, shape, async ({ again, floor, ours, oursOverFetch, sdks }) => {
    const readers = [floor, again, ...sdks, ...ours]
    for (const reader of readers) await check(reader, shape)
    const medians = await latencies(readers)
    const against = (reader: Reading): Measure.Spread => {
      const base = medians.get(floor.name) ?? []
      return Measure.spread((medians.get(reader.name) ?? []).map((own, block) => own / (base[block] ?? Number.NaN)))
    }
    say(`\n## Time to first token: ${title}\n`)
    const rows = readers.map((reader) => [
      reader.name,
      Measure.median(medians.get(reader.name) ?? []).toFixed(2),
      Measure.written(against(reader))
    ])
    say(Measure.columns([["", "ms", "against the floor"], ...rows]))
    say()
    const own = against(oursOverFetch)
    const added = Measure.median(medians.get(oursOverFetch.name) ?? []) - Measure.median(medians.get(floor.name) ?? [])
    verdict(
      `${oursOverFetch.name}: ${Measure.written(own)} of the floor, ${added.toFixed(2)} ms more (at most ${targets.firstToken})`,
      own.median <= targets.firstToken
    )
  })

const through = (origin: string, title: string, shape: Shape): Promise<void> =>
  at(origin, shape, async ({ passing, raw, rawAgain }) => {
    const all = [raw, rawAgain, ...passing]
    for (const one of all) await checkPassing(one, shape)
    const size = bytesOf(shape.events)
    const samples = await Measure.alternate(
      all.map(({ name, pass }) => ({
        name,
        call: async () => {
          if ((await pass()) !== size) throw new Error(`${name}: wrong size`)
        }
      })),
      decoding
    )
    const of = ({ name }: Passing) => samples.get(name) ?? []
    say(`\n## Pass-through: ${title}\n`)
    const rows = all.map((one) => [
      one.name,
      ((Measure.median(of(one).map(Measure.perSecond)) * size) / 1e6).toFixed(1),
      Measure.median(of(one).map(Measure.cpuPerCall)).toFixed(0),
      Measure.written(Measure.ratios(of(one), of(raw), Measure.perSecond)),
      Measure.written(Measure.ratios(of(one), of(raw), Measure.cpuPerCall))
    ])
    say(Measure.columns([["", "MB/s", "CPU µs/stream", "MB/s against raw", "CPU against raw"], ...rows]))
    say()
    const [own] = passing
    if (own === undefined) return
    const speed = Measure.ratios(of(own), of(raw), Measure.perSecond)
    verdict(
      `${own.name}: ${Measure.written(speed)} of raw (at least ${targets.passThrough})`,
      speed.median >= targets.passThrough
    )
  })

/** Heap in use after everything that can be collected has been. */
const heapUsed = (): number => {
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

const memory = (origin: string, sockets: () => Promise<number>): Promise<void> =>
  at(origin, shapes.each, (whole) =>
    at(origin, shapes.open, async (unfinished) => {
      const expected = textOf(shapes.each.events)
      const used: Array<number> = []
      let next = 0
      const worker = async (until: number): Promise<void> => {
        while (next < until) {
          const left = next++ % 2 === 1
          const text = left ? await unfinished.abandon() : await whole.oursOverFetch.read()
          if (text === "" || (!left && text !== expected)) throw new Error("wrong text")
        }
      }
      say(`\n## Heap over ${heap.streams.toLocaleString("en")} streams, every second one left after its first delta\n`)
      for (let until = heap.every; until <= heap.streams; until += heap.every) {
        await Promise.all(Array.from({ length: heap.inFlight }, () => worker(until)))
        used.push(heapUsed())
      }
      const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(2)
      say(
        Measure.columns([
          ["streams", "heap MB"],
          ...used.map((bytes, i) => [String((i + 1) * heap.every), megabytes(bytes)])
        ])
      )
      say()
      // The first part still warms up: compiled code, pools of sockets.
      const settled = used.slice(2)
      const growth = (settled.at(-1) ?? 0) - (settled[0] ?? 0)
      const perStream = growth / ((settled.length - 1) * heap.every)
      verdict(`heap grew by ${perStream.toFixed(0)} bytes per stream (at most 50)`, perStream <= 50)
      // Idle ones are kept for four seconds; what is still open after that has been forgotten.
      let left = await sockets()
      for (let waited = 0; left > 0 && waited < 80; waited++) {
        await new Promise((resolve) => setTimeout(resolve, 100))
        left = await sockets()
      }
      verdict(`${left} connections are left open (none)`, left === 0)
    })
  )

const main = async (): Promise<void> => {
  const upstream = fork(fileURLToPath(new URL("upstream.ts", import.meta.url)), {
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const answer = <A>(): Promise<A> =>
    new Promise((resolve) => upstream.once("message", (message: A) => resolve(message)))
  try {
    const { port } = await answer<{ readonly port: number }>()
    const origin = `http://127.0.0.1:${port}`
    const sockets = async (): Promise<number> => {
      const told = answer<{ readonly open: number }>()
      upstream.send({})
      return (await told).open
    }
    const { inFlight, rounds, turn } = decoding
    const how = process.argv.includes("--heap")
      ? `${heap.inFlight} streams at a time`
      : `${rounds} rounds of ${turn} ms, ${inFlight} streams at a time`
    say(`Node ${process.version}, ${availableParallelism()} cores; ${how}`)
    if (process.argv.includes("--heap")) await memory(origin, sockets)
    else {
      await decoded(origin, "100 events, one per chunk", shapes.each)
      await decoded(origin, "100 events, 20 per chunk", shapes.packed)
      await decoded(origin, "500 events, one per chunk", shapes.longer)
      await first(origin, "the server answers at once", shapes.atOnce)
      await first(origin, "the server takes 20 ms", shapes.thinking)
      await through(origin, "20,000 events, one per chunk", shapes.long)
      await through(origin, "100 events, one per chunk", shapes.each)
    }
  } finally {
    upstream.disconnect()
  }
  if (process.argv.includes("--write")) {
    const page = fileOf("streaming.md")
    const part = () => ["```text", ...out, "```"].join("\n")
    writeFileSync(page, render(readFileSync(page, "utf8"), { bench: part }))
  }
}

await main()

/**
 * Workloads that two checkouts run in turns for `base.ts`: the parts of the questions about this library, in one
 * process per checkout.
 */
import { asking, chainOf, nested, perFiber } from "../chain/routes.ts"
import { serve } from "../child.ts"
import { type Contender, isAnswer, type Job, type Make, promptOf } from "../contender.ts"
import * as Ours from "../contenders/ours.ts"
import { type Sample, turnOf } from "../measure.ts"
import { contenders } from "../stream/contenders.ts"
import { bytesOf, pathOf, type Shape, textOf } from "../upstream.ts"
import type { Places, Workload } from "./command.ts"

/** A unit of work, and its number of calls. */
interface Unit {
  readonly call: () => Promise<void>
  readonly calls: number
  readonly inFlight: number
}

type MakeUnit = (places: Places) => Promise<Unit>

const perBatch = 100

const make = async (maker: Make, job: Job): Promise<Contender> => maker(job)

const inOneFiber =
  (maker: Make): MakeUnit =>
  async ({ job }) => {
    const { askMany } = await make(maker, { ...job, stub: true })
    if (askMany === undefined) throw new Error("asks one at a time only")
    return { call: () => askMany(perBatch), calls: perBatch, inFlight: 1 }
  }

const over =
  (maker: Make, inFlight: number, change: (places: Places) => Partial<Job>): MakeUnit =>
  async (places) => {
    const { ask } = await make(maker, { ...places.job, ...change(places) })
    let index = 0
    const call = async (): Promise<void> => {
      const own = places.job.stub ? 0 : ++index
      const text = await ask(promptOf(own))
      if (!isAnswer(text, own)) throw new Error(`prompt ${own} was answered with ${text.slice(0, 20)}`)
    }
    return { call, calls: 1, inFlight }
  }

const chained =
  (...[name, route, execution]: Parameters<typeof asking>): MakeUnit =>
  async () => ({ call: asking(name, route, execution).call, calls: perFiber, inFlight: 1 })

const read: Shape = { events: 500, perChunk: 1, delay: 0 }
const passed: Shape = { events: 20_000, perChunk: 1, delay: 0 }

const reading: MakeUnit = async ({ streams }) => {
  const { oursOverFetch } = contenders(`${streams}${pathOf(read)}`)
  const expected = textOf(read.events)
  const call = async (): Promise<void> => {
    if ((await oursOverFetch.read()) !== expected) throw new Error("wrong text")
  }
  return { call, calls: read.events, inFlight: 8 }
}

const passing: MakeUnit = async ({ streams }) => {
  const [ours] = contenders(`${streams}${pathOf(passed)}`).passing
  const expected = bytesOf(passed.events)
  const call = async (): Promise<void> => {
    if ((await ours?.pass()) !== expected) throw new Error("wrong size")
  }
  return { call, calls: passed.events, inFlight: 8 }
}

const workloads: Readonly<Record<Workload, MakeUnit>> = {
  "overhead: over a stub, in one fiber": inOneFiber(Ours.overBinding),
  "failover: the third answers, over undici": over(Ours.overUndici, 1, ({ third }) => ({
    url: third,
    targets: 3,
    attempts: 1
  })),
  "throughput: over undici, 64 in flight": over(Ours.overUndici, 64, () => ({})),
  "throughput: over fetch, 64 in flight": over(Ours.overFetch, 64, () => ({})),
  "chain: 1 target": chained("1", chainOf(1), "client"),
  "chain: 50 targets": chained("50", chainOf(50), "client"),
  "chain: 50 combinators": chained("50 deep", nested(50), "client"),
  "stream: events over fetch, 500 in a stream": reading,
  "stream: events passed through over fetch": passing
}

const units = new Map<Workload, Unit>()
let places: Places | undefined

export type Command =
  | { readonly tell: "begin"; readonly places: Places }
  | { readonly tell: "turn"; readonly workload: Workload; readonly millis: number }

serve<Command>(async (command): Promise<Sample | undefined> => {
  if (command.tell === "begin") {
    places = command.places
    return undefined
  }
  if (places === undefined) throw new Error("has not begun")
  const { millis, workload } = command
  const unit = units.get(workload) ?? (await workloads[workload](places))
  units.set(workload, unit)
  const { call, calls, inFlight } = unit
  const sample = await turnOf({ name: workload, call }, { rounds: 1, turn: millis, inFlight })
  return { ...sample, calls: sample.calls * calls }
})

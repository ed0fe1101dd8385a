/** The report of a job: its data, its memory, and a page that is well-formed whatever the data. */
import { serialize } from "node:v8"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type * as Batch from "../../src/Batch.ts"
import { Recorder } from "../../src/cli/report/data.ts"
import { html } from "../../src/cli/report/html.ts"
import { render } from "../../src/cli/report/report.ts"
import {
  type Attempt,
  GatewayError,
  InvalidRequest,
  RateLimited,
  type Reason,
  Timeout
} from "../../src/GatewayError.ts"
import { Tally } from "../../src/internal/batch/tally.ts"

const startedAt = Date.UTC(2026, 0, 31, 14, 0, 0)

interface Item {
  readonly id?: string
  readonly latency?: number
  readonly target?: string
  readonly reason?: Reason
  readonly replayed?: boolean
  readonly logId?: string
}

const limited = new RateLimited({ origin: "provider", status: 429 })

const resultOf = (index: number, item: Item = {}): Batch.Result<string> => {
  const { id = `item-${index}`, latency = 100, logId = "log", reason, replayed = false, target = "openai/m" } = item
  const duration = Duration.millis(latency)
  const attempt: Attempt = {
    target,
    provider: "openai",
    endpoint: "chat/completions",
    outcome: reason === undefined ? "success" : "failure",
    startedAt,
    duration,
    ...(reason !== undefined && { error: reason })
  }
  const common = { id, index, replayed, attempts: [attempt], latency: duration }
  if (reason !== undefined) {
    const error = new GatewayError({ method: "Batch.run", reason, logId, attempts: [attempt] })
    return { _tag: "DeadLetter", ...common, error }
  }
  return {
    _tag: "Success",
    ...common,
    value: "the answer",
    target,
    provider: "openai",
    eventId: "event",
    logId,
    execution: "client",
    usage: { inputTokens: 10, outputTokens: 4 }
  }
}

const empty: Batch.Summary = {
  state: "complete",
  items: 0,
  succeeded: 0,
  deadLetters: 0,
  replayed: { succeeded: 0, deadLetters: 0 },
  duplicates: 0,
  unmet: 0,
  inDoubt: 0,
  resent: 0,
  requests: 0,
  retries: 0,
  fallbacks: 0,
  cacheHits: 0,
  requeued: 0,
  pauses: 0,
  tokensIn: 0,
  tokensOut: 0,
  cost: 0,
  costKnown: 0,
  reasons: {},
  targets: {},
  damage: [],
  startedAt,
  duration: Duration.zero
}

const progress = (seconds: number, fields: Partial<Batch.Progress> = {}): Batch.Progress => ({
  ...empty,
  state: "running",
  duration: Duration.seconds(seconds),
  inFlight: 8,
  concurrency: 16,
  perSecond: 1,
  ...fields
})

/** A job with one item each `step` milliseconds, its recorder and its summary. */
const jobOf = (items: ReadonlyArray<Item>, step: number, cost?: number) => {
  const recorder = new Recorder(startedAt)
  const tally = new Tally()
  for (const [index, item] of items.entries()) {
    const result = resultOf(index, item)
    recorder.add(result, startedAt + index * step)
    if (result.replayed) continue
    const isDead = result._tag === "DeadLetter"
    tally.add({
      target: isDead ? undefined : result.target,
      reason: isDead ? result.error.reason._tag : undefined,
      attempts: result.attempts,
      usage: isDead ? undefined : result.usage,
      cacheStatus: undefined,
      step: undefined,
      cost: isDead ? undefined : cost,
      latency: Duration.toMillis(result.latency)
    })
  }
  const latency = tally.itemLatency()
  const summary: Batch.Summary = {
    ...empty,
    items: items.length,
    succeeded: tally.succeeded,
    deadLetters: tally.deadLetters,
    requests: tally.requests,
    tokensIn: tally.tokensIn,
    tokensOut: tally.tokensOut,
    cost: tally.cost,
    costKnown: tally.costKnown,
    reasons: { ...tally.reasons },
    targets: tally.byTarget(),
    duration: Duration.millis(items.length * step),
    ...(latency !== undefined && { latency })
  }
  return { recorder, summary }
}

const total = (recorder: Recorder, field: "succeeded" | "deadLetters") =>
  recorder.points.reduce((sum, point) => sum + point[field], 0)

describe("Recorder", () => {
  const Kind = Schema.Struct({
    latency: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })),
    dead: Schema.Boolean,
    at: Schema.Int.check(Schema.isBetween({ minimum: -5000, maximum: 4_000_000 }))
  })

  it.prop(
    "counts each item once, whatever its time, and knows the slowest",
    { items: Schema.Array(Kind) },
    ({ items }) => {
      const recorder = new Recorder(startedAt)
      for (const [index, { at, dead, latency }] of items.entries()) {
        recorder.add(resultOf(index, { latency, ...(dead && { reason: limited }) }), startedAt + at)
      }
      assert.strictEqual(total(recorder, "succeeded"), items.filter(({ dead }) => !dead).length)
      assert.strictEqual(total(recorder, "deadLetters"), items.filter(({ dead }) => dead).length)
      assert.strictEqual(
        recorder.points.reduce((sum, { latency }) => sum + (latency?.count ?? 0), 0),
        items.length
      )
      assert.isAtMost(recorder.points.length, 240)
      assert.deepStrictEqual(
        recorder.slowest.map(({ latency }) => latency),
        items
          .map(({ latency }) => latency)
          .sort((a, b) => b - a)
          .slice(0, 20)
      )
    }
  )

  it("keeps each item in its stretch of time when stretches are merged", () => {
    const recorder = new Recorder(startedAt)
    for (let second = 0; second < 1000; second++) recorder.add(resultOf(second), startedAt + second * 1000)
    assert.strictEqual(recorder.width, 8000)
    assert.deepStrictEqual(
      recorder.points.map(({ succeeded }) => succeeded),
      Array.from({ length: 125 }, () => 8)
    )
    assert.deepStrictEqual(new Set(recorder.points.map(({ latency }) => latency?.count)), new Set([8]))
    assert.closeTo(recorder.points[60]?.latency?.quantile(0.5) ?? 0, 100, 1)
  })

  it("keeps the highest concurrency and every pause of a stretch", () => {
    const recorder = new Recorder(startedAt)
    recorder.sample(progress(0, { inFlight: 3, concurrency: 4 }))
    recorder.sample(progress(1, { inFlight: 9, concurrency: 32 }))
    recorder.sample(progress(2, { inFlight: 7, concurrency: 8 }))
    recorder.sample(progress(3, { state: "paused", inFlight: 0, concurrency: 16 }))
    recorder.sample(progress(400, { inFlight: 1, concurrency: 2 }))
    assert.strictEqual(recorder.width, 2000)
    const facts = recorder.points.map(({ concurrency, inFlight, paused }) => [inFlight, concurrency, paused])
    assert.deepStrictEqual(facts.slice(0, 3), [
      [9, 32, false],
      [7, 16, true],
      [undefined, undefined, false]
    ])
    assert.deepStrictEqual(facts.at(-1), [1, 2, false])
  })

  it("excludes earlier runs from the timeline, and adds them up by target", () => {
    const recorder = new Recorder(startedAt)
    for (let index = 0; index < 5; index++) recorder.add(resultOf(index, { replayed: true, target: "a" }), startedAt)
    recorder.add(resultOf(5, { replayed: true, reason: limited }), startedAt)
    assert.deepStrictEqual([recorder.points, recorder.slowest, recorder.failures.size], [[], [], 0])
    assert.deepStrictEqual([...recorder.earlier], [["a", { answered: 5, tokensIn: 50, tokensOut: 20 }]])
  })

  it("counts surplus kinds of dead letters under the name of their reason", () => {
    const recorder = new Recorder(startedAt)
    for (let index = 0; index < 300; index++) {
      const reason = index % 2 === 0 ? limited : new Timeout({ phase: "deadline" })
      recorder.add(resultOf(index, { reason, target: `target-${index}` }), startedAt)
    }
    const kinds = [...recorder.failures.values()]
    assert.strictEqual(kinds.length, 52)
    assert.strictEqual(
      kinds.reduce((sum, { count }) => sum + count, 0),
      300
    )
    assert.deepStrictEqual(
      kinds.slice(50).map(({ count, reason, target }) => [reason, target, count]),
      [
        ["RateLimited", "(others)", 125],
        ["Timeout", "(others)", 125]
      ]
    )
  })

  it("is no larger with a million items than with a hundred thousand", () => {
    const recorder = new Recorder(startedAt)
    const size = () => serialize({ ...recorder }).byteLength
    const prompt = "x".repeat(1000)
    const feed = (from: number, to: number) => {
      for (let index = from; index < to; index++) {
        const item = {
          id: `item-${index}-${prompt}`,
          latency: index % 5000,
          target: `target-${index % 1000}`,
          ...(index % 10 === 0 && { reason: limited }),
          replayed: index % 7 === 0
        }
        recorder.add(resultOf(index, item), startedAt + index * 20)
      }
    }
    feed(0, 100_000)
    const before = size()
    feed(100_000, 1_000_000)
    assert.isAtMost(size(), 4_000_000)
    // Between 121 and 240 points, so at most twice.
    assert.isAtMost(size(), before * 2)
    assert.isAtMost(recorder.points.length, 240)
    assert.strictEqual(recorder.slowest.length, 20)
    assert.isAtMost(recorder.failures.size, 65)
    assert.isAtMost(recorder.earlier.size, 201)
  }, 60_000)
})

/** The parts of a page. Throws unless it is as strict as XML, apart from elements that never have content. */
const parse = (page: string) => {
  const void_ = new Set(["meta"])
  const entity = /&(?:amp|lt|gt|quot|#39);/g
  const decode = (text: string): string => {
    const rest = text.replace(entity, "")
    if (/[&<>]/.test(rest)) throw new Error(`not escaped: ${text.slice(0, 200)}`)
    const characters: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" }
    return text.replace(entity, (found) => characters[found] ?? "")
  }
  const doctype = "<!DOCTYPE html>\n"
  if (!page.startsWith(doctype)) throw new Error("no doctype")
  const open: Array<string> = []
  const elements: Array<{ readonly name: string; readonly attributes: ReadonlyMap<string, string> }> = []
  const texts: Array<string> = []
  let at = doctype.length
  while (at < page.length) {
    if (page[at] !== "<") {
      const end = page.indexOf("<", at) < 0 ? page.length : page.indexOf("<", at)
      const text = page.slice(at, end)
      if (open.at(-1) === "style") texts.push("")
      else if (text.trim() !== "") texts.push(decode(text))
      at = end
      continue
    }
    const tag = /^<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?: [a-zA-Z][a-zA-Z0-9-]*="[^"<>]*")*)(\/?)>/.exec(
      page.slice(at, at + 60_000)
    )
    if (tag === null) throw new Error(`no tag: ${page.slice(at, at + 200)}`)
    const [whole, closes, name = "", given = "", selfCloses] = tag
    at += whole.length
    if (closes === "/") {
      if (open.pop() !== name) throw new Error(`</${name}> closes another element`)
      continue
    }
    const attributes = new Map<string, string>()
    for (const [, key = "", value = ""] of given.matchAll(/ ([a-zA-Z0-9-]+)="([^"]*)"/g)) {
      if (attributes.has(key)) throw new Error(`${name} has ${key} twice`)
      attributes.set(key, decode(value))
    }
    elements.push({ name, attributes })
    if (selfCloses !== "/" && !void_.has(name)) open.push(name)
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(" ")}`)
  return { elements, texts, text: texts.join("\n") }
}

/** Parses a page and checks the requirements of every report. */
const checked = (page: string) => {
  const parsed = parse(page)
  const { elements } = parsed
  const ids = elements.flatMap(({ attributes }) => attributes.get("id") ?? [])
  assert.strictEqual(new Set(ids).size, ids.length, "ids are unique")
  for (const { attributes, name } of elements) {
    assert.notInclude(["script", "img", "link", "iframe", "object", "a", "image", "use"], name)
    for (const [key, value] of attributes) {
      assert.isFalse(key.startsWith("on") || ["src", "href", "style"].includes(key), `${name} has ${key}`)
      if (key === "aria-labelledby") for (const id of value.split(" ")) assert.include(ids, id)
      assert.notMatch(value, /NaN|Infinity|undefined/, `${name} ${key}`)
    }
  }
  assert.notMatch(page, /url\(|@import|https?:/)
  assert.notMatch(parsed.text, /NaN|Infinity|undefined|\[object/)
  for (const { attributes, name } of elements) {
    if (name === "svg" && attributes.get("aria-hidden") !== "true") {
      assert.strictEqual(attributes.get("role"), "img")
      assert.isDefined(attributes.get("aria-labelledby"))
    }
  }
  const count = (name: string) => elements.filter((element) => element.name === name).length
  assert.strictEqual(count("caption"), count("table"))
  assert.strictEqual(count("title"), count("desc") + 1)
  return { ...parsed, count }
}

/** Cells of the table whose caption begins with a text. */
const tableOf = (page: string, caption: string): ReadonlyArray<ReadonlyArray<string>> => {
  const [, rest = ""] = page.split(`<caption>${caption}`)
  const [body = ""] = rest.split("</table>")
  return [...body.matchAll(/<tr>(.*?)<\/tr>/g)].map(([, row = ""]) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/g)].map(([, cell = ""]) => cell.replace(/<\/?bdi>/g, ""))
  )
}

const hostile = [
  "<script>alert(1)</script>",
  `"><img src=x onerror=alert(1)>`,
  "</style></title></svg><script>",
  "&lt;b&gt; &amp; 'single' \"double\"",
  "<!-- ]]> --!>"
]

describe("render", () => {
  it("renders a page for no items", () => {
    const page = render({ title: "Batch", summary: empty, recorder: new Recorder(startedAt) })
    const { count, text } = checked(page)
    assert.strictEqual(count("svg"), 0)
    assert.include(text, "No item ended in this run")
    assert.include(text, "No request was sent.")
    assert.include(text, "No item of this run became a dead letter.")
  })

  it("shows the figures of a job", () => {
    const items = Array.from(
      { length: 600 },
      (_, index): Item => ({
        latency: index === 300 ? 90_000 : 100 + (index % 10),
        target: index % 3 === 0 ? "anthropic/a" : "openai/b",
        ...(index % 20 === 0 && { reason: limited })
      })
    )
    const { recorder, summary } = jobOf(items, 1000, 0.002)
    recorder.sample(progress(30, { inFlight: 12, concurrency: 48 }))
    recorder.sample(progress(60, { state: "paused", inFlight: 0, concurrency: 24 }))
    const page = render({ title: "in.jsonl", summary, recorder })
    const { count, text } = checked(page)
    // Throughput, latency, concurrency, reasons and cost, and the keys of seven series.
    assert.strictEqual(count("svg"), 5 + 2 + 3 + 2)
    assert.include(text, "logarithmic scale")
    assert.include(text, "shaded: paused")
    assert.include(text, "The limit of items at once was between 24 and 48.")
    assert.deepStrictEqual(tableOf(page, "Dead letters by reason, answer and target").slice(1), [
      ["RateLimited", "429", "openai/b", "20", "item-20"],
      ["RateLimited", "429", "anthropic/a", "10", "item-0"]
    ])
    assert.deepStrictEqual(tableOf(page, "Requests that failed").slice(1), [
      ["openai/b", "RateLimited", "20", "5.0%"],
      ["anthropic/a", "RateLimited", "10", "5.0%"]
    ])
    assert.deepStrictEqual(
      tableOf(page, "This run").map((row) => row.slice(0, 7)),
      [
        ["Target", "Requests", "Failed", "Answered", "Tokens in", "Tokens out", "Cost"],
        ["openai/b", "400", "20", "380", "3,800", "1,520", "$0.76"],
        ["anthropic/a", "200", "10", "190", "1,900", "760", "$0.38"]
      ]
    )
    const slow = tableOf(page, "The 20 with the highest latency")
    assert.deepStrictEqual(slow[1], ["item-300", "301", "1 m 30 s", "1", "anthropic/a", "RateLimited", "log"])
    assert.strictEqual(slow.length, 21)
    const summaryRows = tableOf(page, "What the job has come to")
    assert.deepInclude(summaryRows, ["Answered in this run", "570"])
    assert.deepInclude(summaryRows, ["Cost of these", "$1.14"])
    const [, ...stretches] = tableOf(page, "Items that ended in each stretch of time")
    assert.deepStrictEqual(stretches[0], ["0 to 4.0 s", "3", "1", "1.0"])
    assert.strictEqual(
      stretches.reduce((sum, [, answered, dead]) => sum + Number(answered) + Number(dead), 0),
      600
    )
  })

  it("draws the measurements", () => {
    const items = Array.from({ length: 30 }, (_, index): Item => ({ latency: index < 10 ? 100 : 200 }))
    // Ten items in the first second, twenty in the second one.
    const recorder = new Recorder(startedAt)
    for (const [index, item] of items.entries()) {
      recorder.add(resultOf(index, item), startedAt + (index < 10 ? 0 : 1000))
    }
    const summary = { ...empty, succeeded: 30, duration: Duration.seconds(2) }
    const { elements } = checked(render({ title: "t", summary, recorder }))
    const [area] = elements.filter(({ attributes, name }) => name === "path" && attributes.get("class") === "area c1")
    // 20 per second are the top of the scale (y 14), 10 are half of it (y 117), the ground is at y 220.
    const expected = "M62,117 394,117 L394,14 726,14 L726,220 394,220 L394,220 62,220Z"
    assert.strictEqual(area?.attributes.get("d"), expected)
    const lines = elements.filter(({ name }) => name === "polyline").map(({ attributes }) => attributes.get("points"))
    const [median = ""] = lines
    assert.strictEqual(lines.length, 3)
    const [from = [], to = []] = median.split(" ").map((point) => point.split(",").map(Number))
    assert.deepStrictEqual([from[0], to[0]], [228, 560])
    // 100 and 200 milliseconds, each within one percent, on a scale that ends at 200 or 250.
    assert.closeTo(((220 - (from[1] ?? 0)) * 2) / (220 - (to[1] ?? 0)), 1, 0.02)
  })

  it("escapes all outside text, and shows it completely", () => {
    for (const text of hostile) {
      const { recorder, summary } = jobOf(
        [
          { id: text, target: text, logId: text },
          { id: `${text}2`, target: text, reason: new InvalidRequest({ origin: "provider", status: 400 }) },
          { id: `${text}3`, target: text, replayed: true }
        ],
        1000,
        1
      )
      const damage = [{ where: text, kind: "torn" as const, bytes: 12 }]
      const page = render({ title: text, summary: { ...summary, damage }, recorder })
      const { texts } = checked(page)
      // Title, heading, item, log id, targets, damage.
      assert.isAtLeast(texts.filter((shown) => shown === text).length, 9, text)
      assert.include(texts, `${text}2`)
    }
  })

  it("shows no control characters, and none that change the direction of writing", () => {
    const { recorder, summary } = jobOf([{ id: "a\u0000b\u001b[31m\u202ec\ud800d", target: "宽 \u{1f600}" }], 1000)
    const page = render({ title: "t", summary, recorder })
    assert.include(checked(page).texts, "a\ufffdb\ufffd[31m\ufffdc\ufffdd")
    assert.include(page, "宽 \u{1f600}")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
    assert.notMatch(page, /[\u0000-\u0009\u000b-\u001f\u202e]/)
  })

  it("does not grow with the number of items", () => {
    const item = (index: number): Item => ({ latency: index % 700, ...(index % 9 === 0 && { reason: limited }) })
    const { recorder, summary } = jobOf(
      Array.from({ length: 50_000 }, (_, index) => item(index)),
      500
    )
    const page = render({ title: "t", summary, recorder })
    checked(page)
    assert.isAtMost(page.length, 200_000)
  })
})

describe("html", () => {
  it("escapes attribute values too, and nests markup unchanged", () => {
    const inner = html`<b title="${"\"'<>&"}">${[1, undefined, "a<b"]}</b>`
    assert.strictEqual(html`<p>${inner}</p>`.text, '<p><b title="&quot;&#39;&lt;&gt;&amp;">1a&lt;b</b></p>')
  })
})

describe("the parser of this test", () => {
  const bodies = [
    "<p>",
    "<p></b>",
    "<p a=b></p>",
    "<p>a & b</p>",
    "<p>a < b</p>",
    '<p a="1" a="2"></p>',
    "<p>&nope;</p>"
  ]
  for (const body of bodies) {
    it(`rejects ${body}`, () => assert.throws(() => parse(`<!DOCTYPE html>\n${body}`)))
  }
})

/**
 * Checks the page of figures against the results behind it, and the report against results whose page is known. Nothing
 * is measured.
 */
import { readdirSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { draw } from "../../bench/chart.ts"
import type { Column, Row } from "../../bench/question.ts"
import { charts, explanationsFile, page, render, sections } from "../../bench/report.ts"
import { folder, type Results, readResults, resultsFile, stringify } from "../../bench/results.ts"
import * as Docs from "./support.ts"

const exactly = (median: number) => ({ median, low: median, high: median })

const columns: ReadonlyArray<Column> = [
  { key: "cpu", title: "CPU per call", unit: "µs", digits: 1, better: "lower" },
  { key: "ratio", title: "throughput", unit: "× raw fetch", digits: 2, better: "higher" }
]

const rows: ReadonlyArray<Row> = [
  { contender: "raw <fetch>", ours: false, values: { cpu: exactly(100), ratio: exactly(1) } },
  {
    contender: "ours | over fetch",
    ours: true,
    values: { cpu: { median: 1234, low: 1200, high: 1300 }, ratio: { median: 2, low: 1.5, high: 2.5 } },
    remark: "waits"
  },
  { contender: "somebody", ours: false, values: { cpu: exactly(50) }, remark: "has no ratio" }
]

const target = { what: "cost", bound: 10, direction: "at most", unit: "µs", digits: 1 } as const

const results: Results = {
  machine: { cpu: "A CPU", cores: 2, memory: 8, system: "Linux x64", node: "v24.0.0" },
  versions: { effect: "4.1.0" },
  gate: {
    rows: [
      { contender: "good", ours: true, checks: [{ check: "isolation", passed: true }] },
      { contender: "bad", ours: false, checks: [{ check: "isolation", passed: false, did: "mixed answers up" }] }
    ],
    notes: ["All were asked."]
  },
  questions: [
    {
      name: "overhead",
      title: "Cost of a call",
      date: "2026-01-02",
      commit: "abc1234",
      quick: false,
      seconds: 12,
      answer: {
        columns,
        rows,
        targets: [
          { ...target, measured: 9 },
          { ...target, what: "more", measured: 10.1 },
          { ...target, what: "speed", direction: "at least", bound: 0.85, unit: "×", digits: 2, measured: 0.9 }
        ],
        notes: ["In turns."],
        charts: ["ratio"]
      }
    }
  ]
}

const explanations =
  "# Title\n\n## intro\n\nRead this.\n\n## overhead\n\nIt goes into `fetch`.\n\n## other\n\nNot asked.\n"

describe("docs/benchmarks.md", () => {
  const committed = readResults()

  it("matches the rendered results and explanations", () => {
    assert.isDefined(committed)
    assert.isTrue(
      committed !== undefined && render(committed, Docs.read(explanationsFile)) === Docs.read(page),
      `${page} is not of ${resultsFile}: run \`node bench/report.ts\``
    )
  })

  it("has exactly the charts of the results", () => {
    const drawn = committed === undefined ? new Map<string, string>() : charts(committed)
    const files = readdirSync(`${Docs.root}${folder}`).filter((file) => file.endsWith(".svg"))
    assert.deepStrictEqual(files.sort(), [...drawn.keys()].sort())
    for (const [file, svg] of drawn) assert.isTrue(Docs.read(`${folder}/${file}`) === svg, file)
  })

  it("shows every chart file", () => {
    const text = Docs.read(page)
    for (const file of readdirSync(`${Docs.root}${folder}`)) {
      if (file.endsWith(".svg")) assert.include(text, `(benchmarks/${file})`)
    }
  })

  it("names no folder or address of the machine that measured", () => {
    for (const text of [Docs.read(page), Docs.read(resultsFile)]) {
      assert.notMatch(text, /file:\/\/|\/(?:home|root|tmp|work|Users)\/|[A-Z]:\\|registry/)
    }
  })

  it("explains only existing questions", () => {
    const questions = readdirSync(`${Docs.root}bench/questions`).map((file) => file.replace(/\.ts$/, ""))
    const explained = [...sections(Docs.read(explanationsFile)).keys()]
    assert.includeMembers(["intro", ...questions], explained)
  })
})

describe("the report", () => {
  const text = render(results, explanations)

  it("has a table of the targets, and marks missed ones", () => {
    assert.include(text, "2 of 3 are met.")
    assert.include(text, "| cost | at most 10 µs | 9.0 µs | met | [Overhead](#overhead) |")
    assert.include(text, "| more | at most 10 µs | 10.1 µs | **missed** | [Overhead](#overhead) |")
    assert.include(text, "| speed | at least 0.85 × | 0.90 × | met | [Overhead](#overhead) |")
  })

  it("has the rows with their quartiles, and escapes bars in cells", () => {
    assert.include(text, "|  | CPU per call, µs | throughput, × raw fetch |")
    assert.include(text, "| ours \\| over fetch | 1,234.0 (1,200.0–1,300.0) | 2.00 (1.50–2.50) |")
    assert.include(text, "| somebody | 50.0 |  |")
  })

  it("names contestants that failed the checks, and the reason", () => {
    assert.include(text, "| good | yes |")
    assert.include(text, "| bad | **no**: mixed answers up |")
  })

  it("puts notes, remarks and explanations below their question", () => {
    const [, section = ""] = text.split("\n## Overhead\n")
    for (const part of ["- In turns.", "- somebody: has no ratio", "It goes into `fetch`.", "2026-01-02 at abc1234"]) {
      assert.include(section, part)
    }
    assert.include(text, "Read this.")
    assert.notInclude(text, "Not asked.")
  })

  it("draws the columns that a question chose", () => {
    assert.deepStrictEqual([...charts(results).keys()], ["overhead-ratio.svg"])
    assert.include(text, "![Cost of a call: throughput](benchmarks/overhead-ratio.svg)")
  })

  it("warns of a quick run, and of no other", () => {
    const quick = { ...results, questions: results.questions.map((one) => ({ ...one, quick: true })) }
    assert.include(render(quick, explanations), "too rough to compare")
    assert.notInclude(text, "too rough to compare")
  })

  it("is the same from stored results", () => {
    assert.strictEqual(render(JSON.parse(stringify(results)), explanations), text)
  })
})

describe("a chart", () => {
  const [, ratio] = columns
  const svg = ratio === undefined ? "" : draw({ title: "A & B", column: ratio, rows })

  it("escapes text from outside", () => {
    assert.include(svg, "<title>A &amp; B</title>")
    assert.include(svg, "raw &lt;fetch&gt;")
    assert.notInclude(svg, "<fetch>")
  })

  it("has a bar per value in proportion, a whisker each, and a line at the floor of a ratio", () => {
    const widths = [...svg.matchAll(/<rect class="(?:bar|ours)"[^>]* width="([\d.]+)"/g)].map(([, width]) =>
      Number(width)
    )
    assert.strictEqual(widths.length, 2)
    assert.closeTo((widths[1] ?? 0) / (widths[0] ?? 1), 2, 0.01)
    assert.strictEqual(svg.split('class="whisker"').length, 3)
    const floor = Number(/class="floor"[^>]* x1="([\d.]+)"/.exec(svg)?.[1])
    const left = Number(/<rect class="bar" x="([\d.]+)"/.exec(svg)?.[1])
    assert.closeTo(floor, left + (widths[0] ?? 0), 0.2)
  })

  it("draws no floor if the unit is not a ratio", () => {
    const [cpu] = columns
    assert.notInclude(cpu === undefined ? "" : draw({ title: "", column: cpu, rows }), 'class="floor"')
  })

  it("is readable in light and in dark", () => {
    assert.include(svg, "prefers-color-scheme:dark")
  })
})

describe("stored results", () => {
  it("are JSON with rounded figures, and are read back unchanged", () => {
    const text = stringify({
      a: [1.23456, 2],
      b: { median: 1 / 3, low: 0, high: 1 },
      c: [],
      d: undefined,
      e: [{ f: "g" }]
    })
    assert.deepStrictEqual(JSON.parse(text), {
      a: [1.235, 2],
      b: { median: 0.3333, low: 0, high: 1 },
      c: [],
      e: [{ f: "g" }]
    })
  })
})

describe("the comparison in README.md", () => {
  const contenders: Readonly<Record<string, string>> = {
    "this library": "ours over fetch",
    "`ai-retry`": "ai-retry",
    "OpenAI SDK": "OpenAI SDK",
    LangChain: "LangChain withFallbacks",
    "`ai-gateway-provider`, one model object": "ai-gateway-provider, one model",
    Portkey: "Portkey gateway",
    "`ai-fallback`": "ai-fallback"
  }
  const checks: Readonly<Record<string, ReadonlyArray<string>>> = {
    "64 callers at once each get their own answer": ["64 in flight, each its own answer"],
    "a healthy backup answers for a dead primary": [
      "a healthy backup under a dead primary, 2 in flight",
      "a healthy backup under a dead primary, 16 in flight"
    ],
    "a stream whose connection breaks is an error": ["a stream whose connection breaks"],
    "a stream that ends early is an error": ["a stream that ends early"]
  }

  it("says what the last run of the checks found", () => {
    const table = Docs.read("README.md")
      .split("\n")
      .filter(
        (line) =>
          line.startsWith("| client |") || Object.keys(contenders).some((name) => line.startsWith(`| ${name} |`))
      )
      .map((line) =>
        line
          .split("|")
          .slice(1, -1)
          .map((cell) => cell.trim())
      )
    const [head = [], ...body] = table
    assert.deepStrictEqual(head.slice(1), Object.keys(checks))
    assert.strictEqual(body.length, Object.keys(contenders).length)
    const rows = readResults()?.gate?.rows ?? []
    const found = body.map(([name = ""]) => {
      const own = rows.find((row) => row.contender === contenders[name])?.checks ?? []
      return Object.values(checks).map((names) => {
        const about = own.filter(({ check }) => names.includes(check))
        assert.strictEqual(about.length, names.length, `${name}: ${names.join(", ")}`)
        return about.every(({ passed }) => passed) ? "yes" : "**no**"
      })
    })
    assert.deepStrictEqual(
      body.map(([, ...cells]) => cells),
      found
    )
  })
})

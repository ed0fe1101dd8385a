/** Rejections by `batch`: exit code 2, a message that names the flag or the field, nothing sent, nothing written. */
import * as Fs from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { items, jsonl, type World, world } from "./batchSupport.ts"

const timeout = 120_000
const command = ["in.jsonl", "out.jsonl", "--route", "route.json"]

const openaiLine = (id: string) => ({
  custom_id: id,
  method: "POST",
  url: "/v1/chat/completions",
  body: { model: "m", messages: [{ role: "user", content: "x" }] }
})

interface Case {
  readonly args?: ReadonlyArray<string>
  /** Default: three good items. */
  readonly input?: string
  readonly stdin?: string
  readonly route?: unknown
  readonly prepare?: (w: World) => Effect.Effect<unknown>
  readonly env?: Record<string, string>
  readonly says: string
}

const leaf = { provider: "openai", model: "m" }

const cases: Readonly<Record<string, Case>> = {
  "an input that is not there": {
    args: ["none.jsonl", ...command.slice(1)],
    says: "none.jsonl: expected the path of a readable file: there is no such file or folder"
  },
  "an input below a file": {
    args: ["in.jsonl/x", ...command.slice(1)],
    says: "in.jsonl/x: expected the path of a readable file: a part of the path is not a folder"
  },
  "an input that is a folder": {
    args: [".", ...command.slice(1)],
    says: ".: expected the path of a readable file, not of a folder"
  },
  "an input that is not JSON lines": {
    input: `[\n  {"id": "a"\n},\n]`,
    says: `in.jsonl: expected JSON lines such as {"id": "a", "prompt": "Hello"}; line 1: expected a JSON object`
  },
  "standard input that is not JSON lines": {
    args: ["-", ...command.slice(1)],
    stdin: "id;prompt\na;b\n",
    says: "standard input: expected JSON lines"
  },
  "duplicate ids": {
    input: items(3) + items(1) + items(1),
    says: "in.jsonl: expected ids that occur once: line 4 has the id of line 1; line 5 has the id of line 1"
  },
  "an id that is another line's name": {
    input: jsonl({ id: "line-2", prompt: "x" }, { prompt: "y" }),
    says: "line 2 has the id of line 1"
  },
  "an empty input": { input: "", says: "in.jsonl: is empty: expected at least one item" },
  "an input of empty lines": { input: "\n \n\n", says: "in.jsonl: is empty: expected at least one item" },
  "standard input without anything": {
    args: ["-", ...command.slice(1)],
    says: "standard input: is empty: expected at least one item"
  },
  "CSV without rows": {
    prepare: (w) => w.write("in.csv", "id,prompt\n"),
    args: ["in.csv", ...command.slice(1)],
    says: "in.csv: is empty: expected at least one item"
  },
  "CSV with an unknown column": {
    prepare: (w) => w.write("in.csv", "id,prompt,model\na,b,c\n"),
    args: ["in.csv", ...command.slice(1)],
    says: `in.csv: line 1: column "model": expected one of id, prompt, system, maxTokens, temperature, topP, seed`
  },
  "CSV without prompts": {
    prepare: (w) => w.write("in.csv", "id\na\n"),
    args: ["in.csv", ...command.slice(1)],
    says: "in.csv: line 1: the first line: expected names of columns with prompt among them"
  },
  "JSON lines that are said to be an OpenAI batch file": {
    args: [...command, "--format", "openai"],
    input: `not JSON\n`,
    says: `in.jsonl: expected OpenAI batch lines: {"custom_id"`
  },
  "malformed lines with --strict": {
    args: [...command, "--strict"],
    input: `${items(2)}oops\n${jsonl({ id: "x", prompt: "x", maxToken: 1 })}`,
    says: "in.jsonl: --strict: line 3: expected a JSON object; line 4: maxToken: expected one of id,"
  },
  "malformed lines on standard input with --strict": {
    args: ["-", ...command.slice(1), "--strict"],
    stdin: `${items(2)}oops\n`,
    says: "standard input: --strict: line 3: expected a JSON object"
  },
  "duplicate ids on standard input with --strict": {
    args: ["-", ...command.slice(1), "--strict"],
    stdin: items(2) + items(1),
    says: "standard input: expected ids that occur once: line 3 has the id of line 1"
  },
  "no route": {
    args: ["in.jsonl", "out.jsonl"],
    says: "--route: expected the path of a route file; only OpenAI batch files name their models themselves"
  },
  "a route file that is not there": {
    args: ["in.jsonl", "out.jsonl", "--route", "none.json"],
    says: "--route none.json: expected the path of a readable file"
  },
  "a route file that is not JSON": {
    prepare: (w) => w.write("route.json", "version: 1"),
    says: "--route route.json: expected JSON such as"
  },
  "a route file with an unknown field": {
    route: { version: 1, route: { fallback: [leaf, { ...leaf, modle: "m" }] } },
    says: "--route route.json: route.fallback[1].modle: expected one of"
  },
  "a route with two faults": {
    route: { version: 1, route: { ...leaf, provider: "nobody", retry: { attempts: 0 } } },
    says: "--route route.json: route.provider: expected the slug of a provider, compat, or custom- and a slug; route.retry"
  },
  "a route whose key is not in the environment": {
    route: { version: 1, route: { ...leaf, credentials: ["authorization"] } },
    says: "; set OPENAI_API_KEY"
  },
  "the journal of another input": {
    prepare: (w) =>
      Effect.gen(function* () {
        yield* w.write("in.jsonl", items(2))
        assert.strictEqual((yield* w.run(command)).code, 0)
        yield* w.write("in.jsonl", items(3))
      }),
    says: "--journal out.jsonl.journal: belongs to another job (input differ); use another journal, or --force to use it anyway"
  },
  "the journal of another route": {
    prepare: (w) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* w.run(command)).code, 0)
        yield* w.write("route.json", JSON.stringify({ version: 1, route: { ...leaf, model: "other" } }))
      }),
    says: "--journal out.jsonl.journal: belongs to another job (route differ)"
  },
  "an output of another format": {
    prepare: (w) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* w.run(command)).code, 0)
        yield* w.write("out.jsonl", `${yield* w.read("out.jsonl")}${jsonl({ custom_id: "a" })}`)
      }),
    says: "out.jsonl: line 4 is not a result in the format of this run"
  },
  "an output path that is a folder": {
    prepare: (w) => Effect.promise(() => Fs.mkdir(w.at("out.jsonl"))),
    says: "out.jsonl: expected the path of a file to write: is a folder"
  },
  "an output path in a folder that is not there": {
    args: ["in.jsonl", "none/out.jsonl", "--route", "route.json"],
    says: "none/out.jsonl: expected the path of a file to write: there is no such file or folder"
  },
  "an output that exists without a journal": {
    prepare: (w) => w.write("out.jsonl", "precious\n"),
    says: "out.jsonl: exists, and there is no journal out.jsonl.journal to continue: expected a new path, or --force to overwrite it"
  },
  "an output that is the input": {
    args: ["in.jsonl", "./in.jsonl", "--route", "route.json", "--force"],
    says: "the output ./in.jsonl: expected a file other than the input"
  },
  "a report that is the output": {
    args: [...command, "--report", "out.jsonl"],
    says: "--report out.jsonl: expected a file other than the output"
  },
  "a report that is the output by another name": {
    args: [...command, "--report", "./out.jsonl"],
    says: "--report ./out.jsonl: expected a file other than the output"
  },
  "a report in the journal": {
    args: [...command, "--report", "out.jsonl.journal"],
    says: "--report out.jsonl.journal: expected a file outside the journal out.jsonl.journal"
  },
  "a report that is a device": {
    // A file that could be replaced without harm.
    args: [...command, "--report", "/dev/fd/1"],
    says: "--report /dev/fd/1: expected the path of a file, not of a device"
  },
  "a field whose name would steer a terminal": {
    args: [...command, "--strict"],
    input: items(1) + jsonl({ id: "x", prompt: "x", "\u001b[31m": 1 }),
    says: "--strict: line 2: \ufffd[31m: expected one of"
  },
  "standard input with too many lines of another format before the first good one": {
    args: ["-", ...command.slice(1)],
    stdin: `${"oops\n".repeat(20)}${items(3)}`,
    says: "standard input: expected JSON lines"
  },
  "a report in a folder that is not there": {
    args: [...command, "--report", "none/report.html"],
    says: "--report none/report.html: expected the path of a file to write"
  },
  "a journal that is a file": {
    args: [...command, "--journal", "route.json"],
    says: "--journal route.json: expected the path of a folder for a journal: a part of the path is not a folder"
  },
  "a journal in a folder with other files": {
    args: [...command, "--journal", "."],
    says: "--journal .: expected the path of a folder for a journal: it holds other files"
  },
  "no account": { env: { CLOUDFLARE_ACCOUNT_ID: "" }, says: "--account-id or CLOUDFLARE_ACCOUNT_ID: expected" },
  "a malformed gateway": { args: [...command, "--gateway", "a/b"], says: "--gateway or AI_GATEWAY_ID: expected" },
  "a malformed URL": { args: [...command, "--base-url", "nowhere"], says: "--base-url or AI_GATEWAY_URL: expected" },
  "--concurrency 0": {
    args: [...command, "--concurrency", "0"],
    says: "--concurrency: expected 1 to 10000, or adaptive"
  },
  "--rpm 0": { args: [...command, "--rpm", "0"], says: "--rpm: expected a whole number from 1" },
  "--tpm x": { args: [...command, "--tpm", "x"], says: "Invalid value for flag --tpm" },
  "--item-deadline soon": {
    args: [...command, "--item-deadline", "soon"],
    says: `--item-deadline: expected a duration of at least 1 millisecond, such as "30 seconds"`
  },
  "--format xml": { args: [...command, "--format", "xml"], says: "--format" }
}

describe("batch rejects", () => {
  it.live.each(Object.entries(cases))(
    "%s",
    ([, { args = command, env = {}, input = items(3), prepare, route, says, stdin = "" }]) =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", input)
        if (route !== undefined) yield* w.write("route.json", JSON.stringify(route))
        if (prepare !== undefined) yield* prepare(w)
        const before = yield* w.tree
        const requests = w.requests.length
        const { code, err, out } = yield* w.run(args, { stdin, env })
        assert.include(err, says)
        assert.strictEqual(code, 2)
        assert.notInclude(err + out, "    at ")
        assert.lengthOf(w.requests, requests)
        assert.deepStrictEqual(yield* w.tree, before)
      }).pipe(Effect.scoped),
    timeout
  )

  // The cases above run in this process. Here flags, files, standard input and the help go through the binary too.
  it.live.each(["an input that is not there", "standard input that is not JSON lines", "no account", "--tpm x"])(
    "%s: the binary says the same, and ends with the same code",
    (name) =>
      Effect.gen(function* () {
        const { args = command, env = {}, stdin = "" } = cases[name] ?? {}
        const w = yield* world()
        yield* w.write("in.jsonl", items(3))
        const binary = yield* w.runProcess(args, { stdin, env })
        assert.strictEqual(binary.code, 2)
        assert.deepStrictEqual(yield* w.run(args, { stdin, env }), binary)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live("a route of another format for an OpenAI batch file", () =>
    Effect.gen(function* () {
      const w = yield* world()
      yield* w.write("in.jsonl", jsonl(openaiLine("a")))
      const { code, err } = yield* w.run(["in.jsonl", "out.jsonl", "--format", "jsonl"])
      assert.strictEqual(code, 2)
      assert.include(err, "--route: expected the path of a route file")
    }).pipe(Effect.scoped)
  )
})

/**
 * No field of a request is lost in silence: conditions skip a target, hints are reported if they are not sent.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "effect-ai-gateway/Chat"
import { type Dialect, issueOf, sent } from "./fixtures/chat/encoded.ts"

const ask: Chat.Request = { messages: [Chat.user("Hi")] }
const schema = { type: "object", properties: {}, additionalProperties: false }
const tools: ReadonlyArray<Chat.Tool> = [
  { name: "a", parameters: schema },
  { name: "b", parameters: schema }
]

const calling = Chat.assistant("", [{ id: "1", name: "a", arguments: {} }])

const targets: ReadonlyArray<readonly [dialect: Dialect, model: string]> = [
  [Chat.openai, "gpt-5.2"],
  [Chat.openaiCompatible, "llama-3.3-70b-versatile"],
  [Chat.openaiCompatible, "mistral-large-latest"],
  [Chat.anthropic, "claude-sonnet-5"],
  [Chat.anthropicJsonTool, "claude-sonnet-4-5"],
  [Chat.google, "gemini-3-flash"],
  [Chat.google, "gemini-2.5-flash"],
  [Chat.googleVertex, "gemini-3-flash"],
  [Chat.workersAi, "@cf/meta/llama-3.3-70b-instruct-fp8-fast"]
]

/** Fields with a meaning, and how a body or a report shows that they were used. */
const fields: ReadonlyArray<readonly [path: string, request: Partial<Chat.Request>, plain?: Partial<Chat.Request>]> = [
  ["topK", { topK: 7 }],
  ["frequencyPenalty", { frequencyPenalty: 0.5 }],
  ["presencePenalty", { presencePenalty: 0.5 }],
  ["temperature", { temperature: 0.5 }],
  ["topP", { topP: 0.5 }],
  ["seed", { seed: 7 }],
  ["user", { user: "u-1" }],
  ["metadata", { metadata: { team: "a" } }],
  ["tier", { tier: "priority" }],
  ["tier", { tier: "flex" }],
  ["tier", { tier: "fast" }],
  ["cacheKey", { cacheKey: "k" }],
  ["verbosity", { verbosity: "low" }],
  ["logprobs", { logprobs: 2 }],
  ["logprobs", { logprobs: 0 }],
  ["reasoning", { reasoning: { effort: "high" } }],
  ["reasoning", { reasoning: { budget: 4096 } }],
  ["reasoning", { reasoning: { effort: "low", show: true } }, { reasoning: { effort: "low" } }],
  ["parallelToolCalls", { tools, parallelToolCalls: false }, { tools }],
  ["toolChoice", { tools, toolChoice: { allowed: ["a"], mode: "auto" } }, { tools }],
  ["toolChoice", { tools, toolChoice: { allowed: ["a"], mode: "required" } }, { tools, toolChoice: "required" }],
  ["tools[0].strict", { tools: [{ name: "a", parameters: schema, strict: true }] }, { tools: tools.slice(0, 1) }],
  ["tools[0].cache", { tools: [{ name: "a", parameters: schema, cache: {} }] }, { tools: tools.slice(0, 1) }],
  ["output.description", { output: { type: "json", schema, description: "d" } }, { output: { type: "json", schema } }],
  ["serverTools[0].origin", { serverTools: [{ origin: "elsewhere", tool: { type: "search" } }] }],
  [
    "messages[0].content[0].detail",
    { messages: [Chat.user([{ type: "image", data: "aGk=", mediaType: "image/png", detail: "low" }])] },
    { messages: [Chat.user([{ type: "image", data: "aGk=", mediaType: "image/png" }])] }
  ],
  [
    "messages[0].content[0].cache",
    { messages: [Chat.user([{ type: "text", text: "x", cache: {} }])] },
    { messages: [Chat.user([{ type: "text", text: "x" }])] }
  ],
  [
    "messages[0].content[0].cache",
    { messages: [Chat.system([{ type: "text", text: "x", cache: {} }]), Chat.user("y")] },
    { messages: [Chat.system([{ type: "text", text: "x" }]), Chat.user("y")] }
  ],
  [
    "messages[2].isError",
    { messages: [Chat.user("x"), calling, Chat.tool("1", "no", { isError: true })] },
    { messages: [Chat.user("x"), calling, Chat.tool("1", "no")] }
  ],
  [
    "messages[0].content[0].name",
    { messages: [Chat.user([{ type: "file", data: "aGk=", mediaType: "application/pdf", name: "n.pdf" }])] },
    { messages: [Chat.user([{ type: "file", data: "aGk=", mediaType: "application/pdf" }])] }
  ]
]

describe("a field of a request", () => {
  for (const [dialect, model] of targets) {
    it(`changes what ${dialect.id} sends to ${model}, is reported, or passes it over`, () => {
      for (const [path, request, plain = {}] of fields) {
        for (const losses of [undefined, "refuse", "dropHints"] as const) {
          const dropped: Array<string> = []
          const told = (more: Partial<Chat.Request>) =>
            dialect.encode({ ...ask, ...more, losses }, model, { onDropped: (field) => void dropped.push(field) })
          const without = told(plain)
          dropped.length = 0
          const with_ = told(request)
          const name = `${path} with ${losses ?? "the default"}`
          if (Result.isFailure(with_)) {
            const { field, isUnsupported } = with_.failure
            const refusedAnyway = Result.isFailure(without) && without.failure.field === field
            assert.isTrue(refusedAnyway || path.startsWith(field) || field.startsWith(path), `${name}: ${field}`)
            assert.strictEqual(isUnsupported, true, name)
            continue
          }
          if (losses === "refuse") assert.deepStrictEqual(dropped, [], name)
          // These always show their thinking.
          if (request.reasoning?.show === true && /llama|4-5/.test(model)) continue
          const changed = Result.isFailure(without) || JSON.stringify(with_.success) !== JSON.stringify(without.success)
          assert.isTrue(changed || dropped.some((field) => field.startsWith(path)), `${name} was lost`)
        }
      }
    })
  }

  it("is an error with its path when no part, call or tool has it", () => {
    const user = (part: object) => ({ messages: [{ role: "user", content: [part] }] })
    const wrong: ReadonlyArray<readonly [object, string]> = [
      [user({ type: "text", text: "x", cache_control: {} }), "messages[0].content[0].cache_control"],
      [user({ type: "image", url: "https://a.example/b.png", quality: 1 }), "messages[0].content[0].quality"],
      [user({ type: "file", data: "aGk=" }), "messages[0].content[0].mediaType"],
      [user({ type: "file", data: "aGk=", mediaType: "pdf" }), "messages[0].content[0].mediaType"],
      [user({ type: "file", fileId: { origin: "openai" } }), "messages[0].content[0].fileId.id"],
      [user({ type: "file", url: "https://a.example/b", data: "aGk=" }), "messages[0].content[0]"],
      [user({ type: "text", text: "x", cache: { ttl: "2h" } }), "messages[0].content[0].cache.ttl"],
      [user({ type: "image", url: "https://a.example/b.png", detail: "best" }), "messages[0].content[0].detail"],
      [{ ...ask, tools: [{ ...tools[0], title: "A" }] }, "tools[0].title"],
      [{ ...ask, tools, toolChoice: { allowed: [], mode: "auto" } }, "toolChoice.allowed"],
      [{ ...ask, tools, toolChoice: { allowed: ["c"], mode: "auto" } }, "toolChoice.allowed[0]"],
      [{ ...ask, tools, toolChoice: { allowed: ["a"], mode: "any" } }, "toolChoice.mode"],
      [{ ...ask, reasoning: { effort: "huge" } }, "reasoning.effort"],
      [{ ...ask, reasoning: { effort: "low", budget: 1 } }, "reasoning.budget"],
      [{ ...ask, reasoning: { budget: 0 } }, "reasoning.budget"],
      [{ ...ask, reasoning: { level: "low" } }, "reasoning.level"],
      [{ ...ask, losses: "ignore" }, "losses"],
      [{ ...ask, topK: 0 }, "topK"],
      [{ ...ask, frequencyPenalty: 3 }, "frequencyPenalty"],
      [{ ...ask, logprobs: 21 }, "logprobs"],
      [{ ...ask, logprobs: 1.5 }, "logprobs"],
      [{ ...ask, tier: "slow" }, "tier"],
      [{ ...ask, verbosity: "none" }, "verbosity"],
      [{ ...ask, cacheKey: "" }, "cacheKey"],
      [{ ...ask, metadata: { a: 1 } }, "metadata.a"],
      [{ ...ask, serverTools: [{ origin: "openai" }] }, "serverTools[0].tool"],
      [{ ...ask, output: { type: "json", title: "x" } }, "output.title"],
      [{ ...ask, parallelToolCalls: "no" }, "parallelToolCalls"],
      [
        {
          messages: [{ role: "assistant", content: "", toolCalls: [{ id: "1", name: "a", arguments: {}, index: 0 }] }]
        },
        "messages[0].toolCalls[0].index"
      ],
      [
        { messages: [{ role: "assistant", content: [{ type: "reasoning", text: "", opaque: { value: "s" } }] }] },
        "messages[0].content[0].opaque.origin"
      ]
    ]
    for (const [dialect, model] of targets) {
      for (const [request, field] of wrong) {
        const issue = issueOf(dialect, model, request as Chat.Request)
        assert.strictEqual(issue.field, field, `${dialect.id} ${JSON.stringify(request)}`)
        assert.isUndefined(issue.isUnsupported, field)
      }
    }
  })
})

describe("hints", () => {
  it("are dropped by name under dropHints, and skip the target under refuse", () => {
    const request: Chat.Request = { ...ask, seed: 1, user: "u" }
    assert.deepStrictEqual(sent(Chat.anthropic, "claude-sonnet-5", { ...request, losses: "dropHints" }), {
      body: {
        model: "claude-sonnet-5",
        max_tokens: 4096,
        messages: [{ role: "user", content: "Hi" }],
        metadata: { user_id: "u" }
      },
      dropped: ["seed"]
    })
    for (const losses of ["refuse", undefined] as const) {
      assert.strictEqual(issueOf(Chat.anthropic, "claude-sonnet-5", { ...request, losses }).field, "seed")
    }
  })

  it("are dropped by default when they do not shape the answer", () => {
    const request: Chat.Request = { ...ask, verbosity: "low", cacheKey: "k", user: "u" }
    const { dropped } = sent(Chat.google, "gemini-3-flash", request)
    assert.deepStrictEqual([...dropped].sort(), ["cacheKey", "user", "verbosity"])
    assert.strictEqual(issueOf(Chat.google, "gemini-3-flash", { ...request, losses: "refuse" }).field, "verbosity")
  })

  it("reduce a temperature above the bound, and send none to newer models", () => {
    const request: Chat.Request = { ...ask, temperature: 1.4, losses: "dropHints" }
    const older = sent(Chat.anthropic, "claude-sonnet-4-6", request)
    assert.strictEqual(older.body.temperature, 1)
    assert.deepStrictEqual(older.dropped, ["temperature: at most 1"])
    const newer = sent(Chat.anthropic, "claude-opus-5", request)
    assert.notProperty(newer.body, "temperature")
    assert.deepStrictEqual(newer.dropped, ["temperature"])
  })

  it("send no temperature to Claude while it thinks, by effort or by budget", () => {
    const hot = { ...ask, temperature: 0.2, topP: 0.5, topK: 3 }
    for (const reasoning of [{ effort: "high" }, { budget: 2000 }, { show: true }] as const) {
      const issue = Result.getOrThrow(Result.flip(Chat.anthropic.encode({ ...hot, reasoning }, "claude-sonnet-4-6")))
      assert.deepInclude(issue, { field: "temperature", isUnsupported: true })
      const { body, dropped } = sent(Chat.anthropic, "claude-sonnet-4-6", { ...hot, reasoning, losses: "dropHints" })
      assert.containsAllKeys(body, ["thinking"])
      assert.notProperty(body, "temperature")
      assert.includeMembers(dropped, ["temperature", "topP", "topK"])
    }
    const silent = { ...ask, temperature: 0.2, topK: 3, reasoning: { effort: "none" } } as const
    assert.deepInclude(sent(Chat.anthropic, "claude-sonnet-4-6", silent).body, {
      temperature: 0.2,
      top_k: 3,
      thinking: { type: "disabled" }
    })
    const other = sent(Chat.anthropic, "MiniMax-M3", { ...hot, reasoning: { effort: "high" } }).body
    assert.deepInclude(other, { temperature: 0.2, thinking: { type: "adaptive" } })
  })

  it("include either a temperature or topP for Claude from 4.1 on", () => {
    const both = { ...ask, temperature: 0.2, topP: 0.5 }
    for (const model of ["claude-opus-4-1", "claude-sonnet-4-5", "claude-opus-4-6"]) {
      const issue = Result.getOrThrow(Result.flip(Chat.anthropic.encode(both, model)))
      assert.deepInclude(issue, { field: "topP", isUnsupported: true }, model)
      const { body, dropped } = sent(Chat.anthropic, model, { ...both, losses: "dropHints" })
      assert.deepStrictEqual([body.temperature, body.top_p, dropped], [0.2, undefined, ["topP"]])
      assert.strictEqual(sent(Chat.anthropic, model, { ...ask, topP: 0.5 }).body.top_p, 0.5)
    }
    for (const model of ["claude-sonnet-4-20250514", "claude-3-7-sonnet-latest", "MiniMax-M3"]) {
      assert.deepInclude(sent(Chat.anthropic, model, both).body, { temperature: 0.2, top_p: 0.5 })
    }
  })

  it("map an effort to one that the model has", () => {
    const effort = (dialect: Dialect, model: string, effort: Chat.Reasoning["effort"], more: object = {}) =>
      sent(dialect, model, { ...ask, reasoning: { effort }, losses: "dropHints", ...more })
    const adaptive = effort(Chat.anthropic, "claude-sonnet-5", "high").body
    assert.deepInclude(adaptive, { thinking: { type: "adaptive" }, output_config: { effort: "high" } })
    const budget = effort(Chat.anthropic, "claude-sonnet-4-5", "high", { maxTokens: 1000 }).body
    assert.deepInclude(budget, { thinking: { type: "enabled", budget_tokens: 4096 }, max_tokens: 5096 })
    const config = (model: string, level: Chat.Reasoning["effort"]) =>
      (effort(Chat.google, model, level).body.generationConfig as { thinkingConfig: unknown }).thinkingConfig
    assert.deepStrictEqual(config("gemini-2.5-flash", "high"), { thinkingBudget: 24_576 })
    assert.deepStrictEqual(config("gemini-2.5-flash", "none"), { thinkingBudget: 0 })
    assert.deepStrictEqual(config("gemini-2.5-pro", "none"), { thinkingBudget: 128 })
    assert.deepStrictEqual(config("gemini-3-pro-preview", "medium"), { thinkingLevel: "LOW" })
    assert.deepStrictEqual(effort(Chat.google, "gemini-3-pro-preview", "medium").dropped, ["reasoning.effort: low"])
    const openai = (model: string, level: Chat.Reasoning["effort"]) =>
      effort(Chat.openai, model, level).body.reasoning_effort
    assert.strictEqual(openai("gpt-5-mini", "minimal"), "minimal")
    assert.strictEqual(openai("gpt-5.1", "minimal"), "none")
    assert.strictEqual(openai("gpt-5.1", "max"), "high")
    assert.strictEqual(openai("gpt-6", "max"), "max")
    assert.strictEqual(openai("o4-mini", "xhigh"), "high")
    assert.isUndefined(openai("gpt-4.1-mini", "high"))
  })

  it("recognize the names of models in their vendors' spelling", () => {
    const takes = (dialect: Dialect, model: string, request: Partial<Chat.Request>): boolean =>
      Result.isSuccess(dialect.encode({ ...ask, ...request }, model))
    for (const model of ["gpt-4.1", "gpt-4o-mini", "gpt-35-turbo", "gpt-3.5-turbo", "gpt-5-chat-latest", "my-own"]) {
      assert.isTrue(takes(Chat.openai, model, { temperature: 0.5 }), model)
    }
    for (const model of ["gpt-5", "openai/gpt-5-mini-2025-08-07", "gpt-6.1", "o3", "openai/o4-mini"]) {
      assert.isFalse(takes(Chat.openai, model, { temperature: 0.5 }), model)
    }
    for (const model of [
      "claude-3-5-sonnet-latest",
      "claude-3-opus-20240229",
      "claude-opus-4-20250514",
      "anthropic.claude-sonnet-4-5-20250929-v1:0",
      "anthropic/claude-haiku-4.5",
      "claude-2.1",
      "deepseek-chat"
    ]) {
      assert.isTrue(takes(Chat.anthropic, model, { temperature: 0.5 }), model)
    }
    for (const model of [
      "claude-opus-4-7",
      "claude-sonnet-5-20261001",
      "us.anthropic.claude-opus-4.8",
      "claude-next"
    ]) {
      assert.isFalse(takes(Chat.anthropic, model, { temperature: 0.5 }), model)
    }
  })

  it("skip models that cannot stop thinking for the effort none, unless hints are dropped", () => {
    const request: Chat.Request = { ...ask, reasoning: { effort: "none" } }
    for (const [dialect, model] of [
      [Chat.openai, "o4-mini"],
      [Chat.openai, "gpt-6"],
      [Chat.anthropic, "claude-opus-5-5"],
      [Chat.anthropic, "claude-fable-5"],
      [Chat.google, "gemini-3-flash"],
      [Chat.google, "gemini-2.5-pro"]
    ] as const) {
      const issue = issueOf(dialect, model, request)
      assert.strictEqual(issue.field, "reasoning.effort", model)
      assert.strictEqual(issue.isUnsupported, true)
      assert.lengthOf(sent(dialect, model, { ...request, losses: "dropHints" }).dropped, 1)
    }
    assert.deepInclude(sent(Chat.anthropic, "claude-opus-5", request).body, { thinking: { type: "disabled" } })
    assert.notProperty(sent(Chat.anthropic, "claude-haiku-4-5", request).body, "thinking")
    assert.strictEqual(sent(Chat.openai, "gpt-5.1", request).body.reasoning_effort, "none")
    // Models that do not think have nothing to turn off.
    assert.deepStrictEqual(sent(Chat.openai, "gpt-4.1", request).dropped, [])
    assert.deepStrictEqual(sent(Chat.google, "gemini-2.0-flash", request).dropped, [])
  })
})

describe("conditions", () => {
  it("skip models that reject forced calls", () => {
    for (const toolChoice of ["required", { name: "a" }, { allowed: ["a"], mode: "required" }] as const) {
      const request: Chat.Request = { ...ask, tools, toolChoice, losses: "dropHints" }
      assert.strictEqual(issueOf(Chat.anthropic, "claude-opus-5-5", request).field, "toolChoice")
      assert.strictEqual(issueOf(Chat.anthropic, "claude-unheard-9", request).field, "toolChoice")
    }
    const json: Chat.Request = { ...ask, output: { type: "json" } }
    assert.strictEqual(issueOf(Chat.anthropicJsonTool, "claude-opus-5-5", json).field, "output")
    const required = sent(Chat.anthropic, "claude-opus-5", { ...ask, tools, toolChoice: "required" })
    assert.deepStrictEqual(required.body.tool_choice, { type: "any" })
  })

  it("express allowed tools in each provider's form", () => {
    const request: Chat.Request = { ...ask, tools, toolChoice: { allowed: ["a"], mode: "required" } }
    const body = (dialect: Dialect, model: string, more: object = {}) =>
      sent(dialect, model, { ...request, ...more }).body
    const names = (value: unknown) => (value as ReadonlyArray<{ name: string }>).map(({ name }) => name)
    const anthropic = body(Chat.anthropic, "claude-haiku-4-5")
    assert.deepStrictEqual(names(anthropic.tools), ["a"])
    assert.deepStrictEqual(anthropic.tool_choice, { type: "any" })
    const google = body(Chat.google, "gemini-2.5-flash")
    const declared = (google.tools as ReadonlyArray<{ functionDeclarations: unknown }>)[0]?.functionDeclarations
    assert.deepStrictEqual(names(declared), ["a", "b"])
    assert.deepStrictEqual(google.toolConfig, {
      functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["a"] }
    })
    const openai = body(Chat.openai, "gpt-5.2")
    assert.lengthOf(openai.tools as ReadonlyArray<unknown>, 2)
    assert.deepStrictEqual(openai.tool_choice, {
      type: "allowed_tools",
      allowed_tools: { mode: "required", tools: [{ type: "function", function: { name: "a" } }] }
    })
    const compatible = body(Chat.openaiCompatible, "llama-3.3-70b")
    assert.lengthOf(compatible.tools as ReadonlyArray<unknown>, 1)
    assert.strictEqual(compatible.tool_choice, "required")
  })

  it("limit Anthropic and OpenAI to one call at a time, and skip Google and Workers AI", () => {
    const request: Chat.Request = { ...ask, tools, parallelToolCalls: false, losses: "dropHints" }
    assert.deepStrictEqual(sent(Chat.anthropic, "claude-haiku-4-5", request).body.tool_choice, {
      type: "auto",
      disable_parallel_tool_use: true
    })
    assert.strictEqual(sent(Chat.openai, "gpt-5.2", request).body.parallel_tool_calls, false)
    assert.strictEqual(issueOf(Chat.google, "gemini-3-flash", request).field, "parallelToolCalls")
    assert.strictEqual(issueOf(Chat.workersAi, "@cf/a/b", request).field, "parallelToolCalls")
    assert.deepStrictEqual(sent(Chat.google, "gemini-3-flash", { ...request, tools: tools.slice(1) }).dropped, [
      "parallelToolCalls"
    ])
  })

  it("close and sanitize schemas for Claude, and skip it for one that would lose data", () => {
    const output = (schema: Chat.JsonSchema): Chat.Request => ({ ...ask, output: { type: "json", schema } })
    const sane = { type: "object", properties: { a: { type: "number", minimum: 0 } } }
    assert.deepNestedInclude(sent(Chat.anthropic, "claude-opus-5", output(sane)).body, {
      "output_config.format.schema": {
        type: "object",
        properties: { a: { type: "number", description: "minimum: 0" } },
        additionalProperties: false
      }
    })
    const map = { type: "object", additionalProperties: { type: "string" } }
    assert.deepInclude(issueOf(Chat.anthropic, "claude-opus-5", output(map)), {
      field: "output.schema",
      isUnsupported: true
    })
    const strict = (parameters: Chat.JsonSchema): Chat.Request => ({
      ...ask,
      tools: [{ name: "f", parameters, strict: true }]
    })
    assert.deepNestedInclude(sent(Chat.anthropic, "claude-opus-5", strict(sane)).body, {
      "tools[0].input_schema.additionalProperties": false
    })
    assert.strictEqual(issueOf(Chat.anthropic, "claude-opus-5", strict(map)).field, "tools[0].parameters")
    // Values that are not enforced are passed on unchanged.
    const loose = { ...ask, tools: [{ name: "f", parameters: map }] }
    assert.deepNestedInclude(sent(Chat.anthropic, "claude-opus-5", loose).body, { "tools[0].input_schema": map })
  })

  it("skip Claude models that reject a prefill", () => {
    const request: Chat.Request = { messages: [Chat.user("x"), Chat.assistant("{")] }
    assert.strictEqual(issueOf(Chat.anthropic, "claude-opus-4-6", request).field, "messages")
    assert.lengthOf(sent(Chat.anthropic, "claude-haiku-4-5", request).body.messages as ReadonlyArray<unknown>, 2)
  })

  it("send a provider's own tools only to that provider", () => {
    const search = { type: "web_search_20260209", name: "web_search" }
    const request: Chat.Request = { ...ask, serverTools: [{ origin: "anthropic", tool: search }] }
    assert.deepStrictEqual(sent(Chat.anthropic, "claude-opus-5", request).body.tools, [search])
    for (const [dialect, model] of targets) {
      if (dialect.id.startsWith("anthropic")) continue
      assert.strictEqual(issueOf(dialect, model, request).field, "serverTools[0].origin")
    }
    const google: Chat.Request = { ...ask, tools, serverTools: [{ origin: "google", tool: { googleSearch: {} } }] }
    assert.deepInclude(sent(Chat.google, "gemini-3-flash", google).body.tools as ReadonlyArray<unknown>, {
      googleSearch: {}
    })
  })
})

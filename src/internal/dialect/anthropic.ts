/**
 * Anthropic messages.
 *
 * Shapes: https://platform.claude.com/docs/en/api/messages. JSON output:
 * https://platform.claude.com/docs/en/build-with-claude/structured-outputs (`output_config.format`).
 */
import * as Result from "effect/Result"
import { defined } from "../data/defined.ts"
import { encodeMessages, makeWriting, type Writing } from "./anthropicMessages.ts"
import type {
  Citation,
  DecodeOptions,
  Input,
  Json,
  JsonSchema,
  Message,
  Opaque,
  Reply,
  Request,
  ToolCall,
  Usage
} from "./chat.ts"
import { checked } from "./checked.ts"
import {
  attempt,
  chatDialect,
  count,
  type Dialect,
  type Fields,
  fields,
  isFields,
  list,
  nonEmptyText,
  optionalText,
  refuse,
  sum,
  text,
  toolArguments,
  unsupported,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import { allowedTools, effortOf, type Lose, loseAll, loseOf, ownTools, temperatureOf } from "./hints.ts"
import { type Claude, claude, claudeBudget } from "./models.ts"
import { schemaFor } from "./outputSchema.ts"
import { makeParts, saidBy } from "./parts.ts"

/** See `Chat.anthropicMaxTokens`. */
export const anthropicMaxTokens = 4096

// The prefix distinguishes the answer tool from the caller's own: replies carry no trace of the request.
export const answerPrefix = "output__"

type Options = {
  readonly id: string
  /**
   * Form of JSON output. `format`: Anthropic's structured output. `tool`: a tool that takes the schema as its
   * arguments.
   */
  readonly json: "format" | "tool"
}

const make = (options: Options): Dialect<Input, Reply> =>
  chatDialect({
    id: options.id,
    encode: (input, model, encoding) =>
      attempt(() => {
        const request = checked(input, { temperature: 1 })
        const { messages, user } = request
        const lose = loseOf(request, encoding)
        const facts = claude(model)
        const writing = makeWriting(lose)
        if (request.seed !== undefined) lose("seed", "nothing: Anthropic has no seed", undefined, "firm")
        loseAll(request, ["frequencyPenalty", "presencePenalty"], lose, "firm")
        loseAll(request, ["verbosity", "cacheKey", "metadata"], lose)
        if (request.logprobs !== undefined) unsupported("logprobs", "nothing: Anthropic has none")
        if (!facts.prefill && messages.at(-1)?.role === "assistant") {
          unsupported("messages", "a message of the user or of a tool at the end")
        }
        const encoded = encodeMessages(messages, writing)
        const tools = options.json === "tool" ? encodeAnswerTool(request, writing) : encodeTools(request, writing)
        const { effort, ...rest } = encodeThinking(request, facts, isForcing(tools.tool_choice), lose)
        const config = defined({ format: options.json === "tool" ? undefined : encodeFormat(request, lose), effort })
        return {
          model,
          max_tokens: request.maxTokens ?? anthropicMaxTokens,
          ...encoded,
          ...encodeSampling(request, facts, (rest.thinking?.type ?? "disabled") !== "disabled", lose),
          ...defined({
            stop_sequences: request.stop?.length === 0 ? undefined : request.stop,
            metadata: user === undefined ? undefined : { user_id: user }
          }),
          ...encodeTier(request, lose),
          ...tools,
          ...(Object.keys(config).length > 0 && { output_config: config }),
          ...rest,
          ...request.extra
        }
      }),
    decode: (body, decoding) => attempt(() => decodeMessage(body, options.json === "tool", decoding))
  })

/** See `Chat.anthropic`. */
export const anthropic: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "anthropic", json: "format" })

/** See `Chat.anthropicJsonTool`. */
export const anthropicJsonTool: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "anthropic-json-tool", json: "tool" })

/** Encodes settings that only some models take. `isThinking`: such requests must leave other settings alone. */
const encodeSampling = (request: Request, facts: Claude, isThinking: boolean, lose: Lose): Record<string, unknown> => {
  const { topK, topP } = request
  if (facts.sampling && (!isThinking || facts.samplingAndThinking)) {
    const isOneTooMany = !facts.samplingTogether && request.temperature !== undefined && topP !== undefined
    if (isOneTooMany) lose("topP", "nothing beside temperature", undefined, "firm")
    const top_p = isOneTooMany ? undefined : topP
    return defined({ temperature: temperatureOf(request, 1, lose), top_p, top_k: topK })
  }
  loseAll(request, ["temperature", "topP", "topK"], lose, "firm")
  return {}
}

const encodeTier = ({ tier }: Request, lose: Lose): Record<string, unknown> => {
  switch (tier) {
    case undefined:
      return {}
    case "fast":
      return { speed: "fast" }
    case "default":
      return { service_tier: "standard_only" }
    case "auto":
      return { service_tier: "auto" }
    default:
      lose("tier", "auto, default or fast")
      return {}
  }
}

const encodeFormat = ({ output }: Request, lose: Lose): Record<string, unknown> | undefined => {
  if (output === undefined) return undefined
  if (output.description !== undefined) lose("output.description", "nothing")
  const { schema } = output
  if (schema === undefined) {
    return unsupported("output.schema", "a JSON Schema: Anthropic has no JSON mode without one")
  }
  return { type: "json_schema", schema: kept(schema, "output.schema") }
}

/** Makes a schema that Anthropic can enforce: closed, with the keywords that it rejects moved into descriptions. */
const kept = (schema: JsonSchema, field: string): JsonSchema => {
  const sent = schemaFor("anthropic", schema)
  return Result.isSuccess(sent) ? sent.success.schema : unsupported(field, sent.failure)
}

interface ToolUse {
  readonly type: string
  readonly name?: string
  readonly disable_parallel_tool_use?: boolean
}

const encodeTools = (
  request: Request,
  { cacheOf }: Writing
): { tools?: ReadonlyArray<unknown>; tool_choice?: ToolUse } => {
  const { choice, tools } = allowedTools(request)
  const own = ownTools(request, "anthropic")
  if (tools.length + own.length === 0) return {}
  const all = request.tools ?? []
  const single = request.parallelToolCalls === false && tools.length > 0
  const chosen = encodeToolChoice(choice ?? (single ? "auto" : undefined))
  return {
    tools: [
      ...tools.map((tool) => {
        const { cache, description, name, parameters, strict } = tool
        const at = `tools[${all.indexOf(tool)}]`
        const field = `${at}.parameters`
        const schema = objectSchema(parameters, field)
        return {
          name,
          ...defined({ description, strict }),
          input_schema: strict === true ? kept(schema, field) : schema,
          ...cacheOf(cache, `${at}.cache`)
        }
      }),
      ...own
    ],
    ...(chosen && {
      tool_choice: single && choice !== "none" ? { ...chosen, disable_parallel_tool_use: true } : chosen
    })
  }
}

const encodeToolChoice = (
  choice: "auto" | "none" | "required" | { readonly name: string } | undefined
): ToolUse | undefined => {
  if (choice === undefined) return undefined
  if (typeof choice === "object") return { type: "tool", name: choice.name }
  return { type: choice === "required" ? "any" : choice }
}

const isForcing = (choice: { readonly type: string } | undefined): boolean =>
  choice?.type === "any" || choice?.type === "tool"

interface Thinking {
  readonly type: string
  readonly [field: string]: unknown
}

/** Encodes the request for thinking. Most models do not think when they are forced to call a tool. */
const encodeThinking = (
  request: Request,
  facts: Claude,
  isForced: boolean,
  lose: Lose
): { readonly thinking?: Thinking; readonly effort?: string; readonly max_tokens?: number } => {
  const { maxTokens = anthropicMaxTokens, reasoning } = request
  if (isForced && !facts.forced) {
    // An answer tool is forced too.
    if (isForcing(encodeToolChoice(allowedTools(request).choice))) unsupported("toolChoice", "auto or none")
    unsupported("output", "nothing that needs an answer tool: this model cannot be forced to call one")
  }
  if (reasoning === undefined) return {}
  const { budget, effort, show } = reasoning
  if (facts.thinking === "none") {
    if (effort !== "none") lose("reasoning", "nothing")
    return {}
  }
  const isOff = effort === "none" && facts.efforts.includes("none")
  if (isForced && !isOff) {
    lose("reasoning", "nothing beside a forced tool call")
    return {}
  }
  if (facts.thinking === "budget" || (facts.budget && budget !== undefined)) {
    if (effort === "none") return {}
    if (effort === undefined && budget === undefined) {
      if (show === true) lose("reasoning.show", "nothing without an effort or a budget")
      return {}
    }
    // The current turn of tool calls must begin with thinking of the same model.
    if (facts.thinking === "budget" && isUnsigned(request.messages)) {
      lose("reasoning", "nothing while tools are answered that another model called")
      return {}
    }
    const tokens = Math.max(1024, budget ?? claudeBudget(effort ?? "low"))
    if (budget !== undefined && budget < 1024) lose("reasoning.budget", "at least 1024", "at least 1024")
    return {
      thinking: { type: "enabled", budget_tokens: tokens },
      ...(maxTokens <= tokens && { max_tokens: maxTokens + tokens })
    }
  }
  const level = effortOf(request, facts.efforts, lose)
  if (level === "none") return { thinking: { type: "disabled" } }
  const shown = show === true && facts.hidden ? { display: "summarized" } : {}
  if (level === undefined && show !== true) return {}
  return { thinking: { type: "adaptive", ...shown }, ...defined({ effort: level }) }
}

/** Whether the latest turn called tools without thinking that Claude has signed. */
const isUnsigned = (messages: ReadonlyArray<Message>): boolean => {
  const last = messages.findLast(({ role }) => role === "assistant" || role === "user")
  return (
    last?.role === "assistant" &&
    (last.toolCalls?.length ?? 0) > 0 &&
    !(
      typeof last.content === "object" &&
      last.content.some((part) => part.type === "reasoning" && part.opaque?.origin === "anthropic")
    )
  )
}

const encodeAnswerTool = (request: Request, writing: Writing): ReturnType<typeof encodeTools> => {
  const own = encodeTools(request, writing)
  const { output, toolChoice, tools = [] } = request
  tools.forEach((tool, i) => {
    if (tool.name.startsWith(answerPrefix))
      unsupported(`tools[${i}].name`, `a name that does not start with ${answerPrefix}`)
  })
  if (output === undefined) return own
  const name = answerPrefix + (output.name ?? "output")
  const answer = {
    name,
    description: output.description ?? "Gives the final answer.",
    ...defined({ strict: output.strict }),
    input_schema: objectSchema(output.schema ?? { type: "object" }, "output.schema")
  }
  // Other tools may be called first, if they may be called at all; the answer is one call in any case.
  const choice = tools.length === 0 || toolChoice === "none" ? { type: "tool", name } : { type: "any" }
  return {
    tools: [...(own.tools ?? []), answer],
    tool_choice: own.tool_choice?.type === "tool" ? own.tool_choice : { ...choice, disable_parallel_tool_use: true }
  }
}

const objectSchema = (schema: JsonSchema, field: string): JsonSchema =>
  schema.type === "object" ? schema : unsupported(`${field}.type`, "object")

const decodeMessage = (raw: unknown, answerTool: boolean, options: DecodeOptions | undefined): Reply => {
  const body = fields(raw, "body")
  const said = makeParts()
  let answer: Json | undefined
  const toolCalls: Array<ToolCall> = []
  const parts: Array<Json> = []
  const blocks = list(body.content, "content").map((item, i) => fields(item, `content[${i}]`))
  const isAnswer = ({ name, type }: Fields): boolean =>
    answerTool && type === "tool_use" && typeof name === "string" && name.startsWith(answerPrefix)
  // Text around the answer tool is chatter; it stays in `raw`.
  const isAnswered = blocks.some(isAnswer)
  blocks.forEach((block, i) => {
    const at = `content[${i}]`
    const opaque = opaqueOf(block)
    if (block.type === "text") {
      const words = text(block.text, `${at}.text`)
      if (isAnswered) return
      said.say("text", words)
      citationsOf(block.citations).forEach(said.cite)
    } else if (block.type === "thinking") {
      said.say("reasoning", text(block.thinking, `${at}.thinking`))
      if (opaque !== undefined) said.sign(opaque, "reasoning")
    } else if (block.type === "redacted_thinking") {
      if (opaque !== undefined) said.sign(opaque, "reasoning", true)
    } else if (block.type === "tool_use") {
      const name = nonEmptyText(block.name, `${at}.name`)
      const input = toolArguments(block.input, `${at}.input`)
      if (!isAnswer(block)) toolCalls.push({ id: nonEmptyText(block.id, `${at}.id`), name, arguments: input })
      else if (answer === undefined) {
        answer = input
        said.say("text", writeJson(input, "content"))
      }
    } else if (isPart(block)) parts.push(block)
  })
  const reason = finishReasonOf(body.stop_reason, "stop_reason") ?? "other"
  const reply: Reply = {
    text: said.text(),
    toolCalls,
    finishReason: finish(reason === "toolCalls" && toolCalls.length === 0 ? "stop" : reason, toolCalls),
    usage: decodeUsage(body.usage),
    ...saidBy(said),
    ...defined({
      parts: parts.length > 0 ? parts : undefined,
      stopSequence: optionalText(body.stop_sequence),
      tier: isFields(body.usage) ? optionalText(body.usage.service_tier) : undefined,
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse("content", someOutput)
}

/** Returns the value that a block of thinking must be sent back with. */
export const opaqueOf = ({ data, signature }: Fields): Opaque | undefined => {
  const value = optionalText(signature) ?? optionalText(data)
  return value === undefined ? undefined : { origin: "anthropic", value }
}

/** Returns the sources of a text. Their positions refer to the source. */
export const citationsOf = (citations: unknown): ReadonlyArray<Citation> =>
  Array.isArray(citations)
    ? citations.filter(isFields).map(({ cited_text: quote, document_title, source, title, url }) =>
        defined({
          url: optionalText(url) ?? optionalText(source),
          title: optionalText(title) ?? optionalText(document_title),
          quote: optionalText(quote)
        })
      )
    : []

/** Whether a block is output without a neutral form: calls and results of the provider's own tools, a summary. */
export const isPart = (block: Fields): block is Fields & { readonly [key: string]: Json } =>
  typeof block.type === "string" && block.type !== "redacted_thinking"

const counted = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"] as const

// Here `input_tokens` excludes tokens that were read from or written to the cache. All counts exclude a compaction of
// the conversation, which is listed separately.
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  const steps = Array.isArray(usage.iterations) ? usage.iterations.filter(isFields) : []
  const compactions = steps.filter(({ type }) => type === "compaction")
  const [uncached, outputTokens, cachedInputTokens, cacheWriteTokens] = counted.map((name) =>
    compactions.reduce((all, step) => sum(all ?? 0, count(step[name])) ?? all, count(usage[name]))
  )
  const details = isFields(usage.output_tokens_details) ? usage.output_tokens_details : {}
  const inputTokens = uncached === undefined ? undefined : uncached + (cachedInputTokens ?? 0) + (cacheWriteTokens ?? 0)
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: sum(inputTokens, outputTokens),
    cachedInputTokens,
    cacheWriteTokens,
    cacheWriteLongTokens: isFields(usage.cache_creation)
      ? count(usage.cache_creation.ephemeral_1h_input_tokens) || undefined
      : undefined,
    reasoningTokens: count(details.thinking_tokens)
  })
}

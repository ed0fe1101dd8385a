/**
 * Anthropic messages.
 *
 * Shapes: https://platform.claude.com/docs/en/api/messages. JSON output:
 * https://platform.claude.com/docs/en/build-with-claude/structured-outputs (`output_config.format`).
 */
import { defined } from "../data/defined.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  ImagePart,
  Input,
  Json,
  JsonSchema,
  Message,
  Reply,
  Request,
  TextPart,
  ToolCall,
  ToolChoice,
  Usage
} from "./chat.ts"
import {
  attempt,
  chatDialect,
  checked,
  count,
  type Dialect,
  type Fields,
  fields,
  image,
  isFields,
  list,
  nonEmptyText,
  nonEmptyTexts,
  optionalText,
  refuse,
  spoken,
  sum,
  text,
  toolArguments,
  unsupported,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"

/** See `Chat.anthropicMaxTokens`. */
export const anthropicMaxTokens = 4096

// How the answer tool is told from the caller's own: replies carry no trace of what was asked for.
export const answerPrefix = "output__"

type Options = {
  readonly id: string
  /** `format`: Anthropic's structured output. `tool`: a tool that takes the schema as its arguments. */
  readonly json: "format" | "tool"
}

const make = (options: Options): Dialect<Input, Reply> =>
  chatDialect({
    id: options.id,
    encode: (input, model) =>
      attempt(() => {
        const request = checked(input, { temperature: 1 })
        if (request.seed !== undefined) unsupported("seed", "nothing: Anthropic has no seed")
        return {
          model,
          max_tokens: request.maxTokens ?? anthropicMaxTokens,
          ...encodeMessages(request.messages),
          ...defined({
            temperature: request.temperature,
            top_p: request.topP,
            stop_sequences: request.stop?.length === 0 ? undefined : request.stop,
            metadata: request.user === undefined ? undefined : { user_id: request.user }
          }),
          ...(options.json === "tool"
            ? encodeAnswerTool(request)
            : { ...encodeTools(request), ...encodeFormat(request) }),
          ...request.extra
        }
      }),
    decode: (body, decoding) => attempt(() => decodeMessage(body, options.json === "tool", decoding))
  })

/** See `Chat.anthropic`. */
export const anthropic: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "anthropic", json: "format" })

/** See `Chat.anthropicJsonTool`. */
export const anthropicJsonTool: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "anthropic-json-tool", json: "tool" })

const encodeFormat = ({ output }: Request): Record<string, unknown> =>
  output === undefined
    ? {}
    : {
        output_config: {
          format: {
            type: "json_schema",
            schema:
              output.schema ?? unsupported("output.schema", "a JSON Schema: Anthropic has no JSON mode without one")
          }
        }
      }

const encodeTools = ({ tools, toolChoice }: Request): { tools?: ReadonlyArray<unknown>; tool_choice?: unknown } =>
  tools === undefined || tools.length === 0
    ? {}
    : {
        tools: tools.map(({ description, name, parameters, strict }, i) => ({
          name,
          ...defined({ description, strict }),
          input_schema: objectSchema(parameters, `tools[${i}].parameters`)
        })),
        ...defined({ tool_choice: encodeToolChoice(toolChoice) })
      }

const encodeToolChoice = (choice: ToolChoice | undefined): unknown => {
  if (choice === undefined) return undefined
  if (typeof choice === "object") return { type: "tool", name: choice.name }
  return { type: choice === "required" ? "any" : choice }
}

const encodeAnswerTool = (request: Request): Record<string, unknown> => {
  const own = encodeTools(request)
  const { output, toolChoice, tools = [] } = request
  tools.forEach((tool, i) => {
    if (tool.name.startsWith(answerPrefix))
      unsupported(`tools[${i}].name`, `a name that does not start with ${answerPrefix}`)
  })
  if (output === undefined) return own
  const name = answerPrefix + (output.name ?? "output")
  const answer = {
    name,
    description: "Gives the final answer.",
    ...defined({ strict: output.strict }),
    input_schema: objectSchema(output.schema ?? { type: "object" }, "output.schema")
  }
  // Own tools may be called first, if they may be called at all; the answer is one call in any case.
  const choice = tools.length === 0 || toolChoice === "none" ? { type: "tool", name } : { type: "any" }
  return {
    tools: [...(own.tools ?? []), answer],
    tool_choice: typeof toolChoice === "object" ? own.tool_choice : { ...choice, disable_parallel_tool_use: true }
  }
}

const objectSchema = (schema: JsonSchema, field: string): JsonSchema =>
  schema.type === "object" ? schema : unsupported(`${field}.type`, "object")

const encodeMessages = (all: ReadonlyArray<Message>): Record<string, unknown> => {
  const system: Array<string> = []
  const messages: Array<{ readonly role: string; readonly content: unknown }> = []
  const ids = toolUseIds()
  let results: Array<unknown> | undefined
  all.forEach((message, i) => {
    const field = `messages[${i}].content`
    // System messages move out of the turns, so they end none.
    if (message.role === "user" || message.role === "assistant") results = undefined
    switch (message.role) {
      case "system":
        system.push(...nonEmptyTexts(message.content, field))
        return
      case "user":
        messages.push({
          role: "user",
          content:
            typeof message.content === "string"
              ? nonEmptyText(message.content, field)
              : message.content.map((part, j) => encodePart(part, `${field}[${j}]`))
        })
        return
      case "assistant":
        ids.turn()
        messages.push({ role: "assistant", content: encodeAssistant(message, `messages[${i}]`, ids) })
        return
      default: {
        // The answers to parallel calls have to stand in one user turn.
        if (results === undefined) {
          results = []
          messages.push({ role: "user", content: results })
        }
        results.push({ type: "tool_result", tool_use_id: ids.of(message.toolCallId), content: message.content })
      }
    }
  })
  if (messages.length === 0) unsupported("messages", "at least one message that is not a system message")
  // One string: Cloudflare's catalog refuses blocks (https://github.com/withastro/flue/issues/662).
  return { ...(system.length > 0 && { system: system.join("\n\n") }), messages }
}

const encodePart = (part: TextPart | ImagePart, field: string): unknown => {
  if (part.type === "text") return { type: "text", text: nonEmptyText(part.text, `${field}.text`) }
  const source = image(part, field)
  if (source.type === "url") return { type: "image", source: { type: "url", url: source.url } }
  if (!/^image\/(jpeg|png|gif|webp)$/.test(source.mediaType)) {
    unsupported(field, "an image of type image/jpeg, image/png, image/gif or image/webp")
  }
  return { type: "image", source: { type: "base64", media_type: source.mediaType, data: source.data } }
}

const encodeAssistant = (message: AssistantMessage, field: string, ids: ToolUseIds): unknown => {
  const { toolCalls = [] } = message
  const content = spoken(message.content)
  if (toolCalls.length === 0 && typeof content === "string") return nonEmptyText(content, `${field}.content`)
  // A turn that only calls tools has empty text elsewhere, and no text block here.
  const said = content === "" ? [] : typeof content === "string" ? [{ type: "text" as const, text: content }] : content
  return [
    ...said.map((part, i) => encodePart(part, `${field}.content[${i}]`)),
    ...toolCalls.map(({ arguments: input, id, name }, i) => ({
      type: "tool_use",
      id: ids.next(id),
      name,
      input: isFields(input) ? input : unsupported(`${field}.toolCalls[${i}].arguments`, "a JSON object")
    }))
  ]
}

interface ToolUseIds {
  /** Calls are answered before the next message with calls. */
  readonly turn: () => void
  readonly next: (id: string) => string
  readonly of: (id: string) => string
}

// After a fallback the ids of another provider stand in the conversation: they may hold characters that are refused
// here (`functions.search:0`), and one without ids of its own numbers its calls anew in every reply.
const toolUseIds = (): ToolUseIds => {
  const used = new Set<string>()
  const current = new Map<string, string>()
  /** Calls of the present turn that wait for their result, in order: one id may stand for several of them. */
  let open: Array<readonly [id: string, own: string]> = []
  const clean = (id: string): string => id.replace(/[^A-Za-z0-9_-]/g, "_")
  return {
    turn: () => {
      open = []
    },
    next: (id) => {
      let own = clean(id)
      while (used.has(own)) own += "_"
      used.add(own)
      current.set(id, own)
      open.push([id, own])
      return own
    },
    of: (id) => {
      const at = open.findIndex(([called]) => called === id)
      const [found] = at < 0 ? [] : open.splice(at, 1)
      return found?.[1] ?? current.get(id) ?? clean(id)
    }
  }
}

const decodeMessage = (raw: unknown, answerTool: boolean, options: DecodeOptions | undefined): Reply => {
  const body = fields(raw, "body")
  let said = ""
  let thought = ""
  let answer: Json | undefined
  const toolCalls: Array<ToolCall> = []
  const parts: Array<Json> = []
  list(body.content, "content").forEach((item, i) => {
    const at = `content[${i}]`
    const block = fields(item, at)
    if (block.type === "text") said += text(block.text, `${at}.text`)
    else if (block.type === "thinking") thought += text(block.thinking, `${at}.thinking`)
    else if (block.type === "tool_use") {
      const name = nonEmptyText(block.name, `${at}.name`)
      const input = toolArguments(block.input, `${at}.input`)
      if (answerTool && name.startsWith(answerPrefix)) answer ??= input
      else toolCalls.push({ id: nonEmptyText(block.id, `${at}.id`), name, arguments: input })
    } else if (isPart(block)) parts.push(block)
  })
  const reason = finishReasonOf(body.stop_reason, "stop_reason") ?? "other"
  const reply: Reply = {
    // Words around the answer tool are chatter; they stay in `raw`.
    text: answer === undefined ? said : writeJson(answer, "content"),
    toolCalls,
    finishReason: finish(reason === "toolCalls" && toolCalls.length === 0 ? "stop" : reason, toolCalls),
    usage: decodeUsage(body.usage),
    ...defined({
      reasoning: optionalText(thought),
      parts: parts.length > 0 ? parts : undefined,
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse("content", someOutput)
}

/** Whether a block is output without a neutral form: calls and results of the provider's own tools, a summary. */
export const isPart = (block: Fields): block is Fields & { readonly [key: string]: Json } =>
  typeof block.type === "string" && block.type !== "redacted_thinking"

const counted = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"] as const

// Here `input_tokens` leaves out what was read from or written to the cache, and all counts leave out what a compaction of
// the conversation took, which is listed beside them.
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
    reasoningTokens: count(details.thinking_tokens)
  })
}

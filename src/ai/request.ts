/**
 * Translates a prompt of `effect/ai` to a request of `Chat`. It rejects parts that `Chat` cannot express, with their
 * place in the prompt.
 */
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Chat from "../Chat.ts"
import { defined } from "../internal/data/defined.ts"
import { jsonText } from "../internal/data/json.ts"
import type * as GatewayModel from "./GatewayModel.ts"
import { parametersOf, transformer } from "./schema.ts"

/** Carries a rejection out of the mapping; `toRequest` catches it. */
class Refusal {
  readonly reason: AiError.AiErrorReason
  constructor(reason: AiError.AiErrorReason) {
    this.reason = reason
  }
}

const refuse = (field: string, accepted: string): never => {
  throw new Refusal(new AiError.InvalidUserInputError({ description: `${field}: must be ${accepted}` }))
}

// The first bytes of a picture, in base64. `image/*` means that the caller does not know the type.
const signatures: ReadonlyArray<readonly [start: string, mediaType: string]> = [
  ["iVBORw0KGgo", "image/png"],
  ["/9j/", "image/jpeg"],
  ["R0lGOD", "image/gif"],
  ["UklGR", "image/webp"]
]

const fileOf = (part: Prompt.FilePart, at: string): Chat.ImagePart | Chat.FilePart => {
  const { data, fileName: name, options } = part
  const mediaType = part.mediaType.toLowerCase()
  const { cache, detail } = options.gateway ?? {}
  const isImage = mediaType.startsWith("image/")
  // Base64 has no colon.
  const isUrl = typeof data === "string" && /^(?:data|https?):/.test(data)
  const url = data instanceof URL ? data.href : isUrl ? data : undefined
  if (url !== undefined) {
    const exact = mediaType.includes("*") ? undefined : mediaType
    return isImage
      ? { type: "image", url, ...defined({ mediaType: exact, cache, detail }) }
      : { type: "file", url, ...defined({ mediaType: exact, name, cache }) }
  }
  const base64 = typeof data === "string" ? data : data instanceof Uint8Array ? Base64.encode(data) : ""
  const found = mediaType === "image/*" ? signatures.find(([start]) => base64.startsWith(start))?.[1] : mediaType
  const known =
    found === undefined || found.includes("*") ? refuse(`${at}.mediaType`, "exact, for example image/png") : found
  return isImage
    ? { type: "image", data: base64, mediaType: known, ...defined({ cache, detail }) }
    : { type: "file", data: base64, mediaType: known, ...defined({ name, cache }) }
}

const textOf = ({ options, text }: Prompt.TextPart): Chat.TextPart => {
  const { cache, opaque } = options.gateway ?? {}
  return { type: "text", text, ...defined({ cache, opaque }) }
}

/** A single text without options becomes a plain string, which every provider accepts. */
const simple = <Part extends { readonly type: string }>(
  parts: ReadonlyArray<Part | Chat.TextPart>
): string | ReadonlyArray<Part | Chat.TextPart> => {
  const [first, ...rest] = parts
  const isText = (part: Part | Chat.TextPart): part is Chat.TextPart => part.type === "text"
  return first !== undefined && rest.length === 0 && isText(first) && !first.cache && !first.opaque ? first.text : parts
}

const systemMessage = ({ content, options }: Prompt.SystemMessage): Chat.Message => {
  const { cache } = options.gateway ?? {}
  return { role: "system", content: simple<Chat.TextPart>([{ type: "text", text: content, ...defined({ cache }) }]) }
}

const userMessage = (message: Prompt.UserMessage, at: string): Chat.Message => ({
  role: "user",
  content: simple<Chat.ImagePart | Chat.FilePart>(
    message.content.map((part, i) => (part.type === "text" ? textOf(part) : fileOf(part, `${at}.content[${i}]`)))
  )
})

const assistantMessage = (message: Prompt.AssistantMessage, at: string): Chat.AssistantMessage => {
  const said: Array<Chat.TextPart | Chat.RefusalPart | Chat.ReasoningPart> = []
  const toolCalls: Array<Chat.ToolCall> = []
  message.content.forEach((part, i) => {
    const place = `${at}.content[${i}]`
    switch (part.type) {
      case "text":
        said.push(part.options.gateway?.refusal === true ? { type: "refusal", text: part.text } : textOf(part))
        return
      case "reasoning": {
        const { opaque, redacted } = part.options.gateway ?? {}
        said.push({ type: "reasoning", text: part.text, ...defined({ opaque, redacted }) })
        return
      }
      case "tool-call": {
        if (part.providerExecuted) refuse(place, "a call of the program's own tool, not of a provider's")
        const { opaque, signature } = part.options.gateway ?? {}
        toolCalls.push({
          id: part.id,
          name: part.name,
          arguments: jsonOf(part.params, `${place}.params`),
          ...defined({ opaque, signature })
        })
        return
      }
      case "tool-result":
        refuse(place, "a result of the program's own tool, not of a provider's")
        return
      case "file":
      case "tool-approval-request":
        // As in `Chat.fromReply`, files of the model are dropped. An approval concerns only the program and its user.
        return
    }
  })
  // As in `Chat.fromReply`, unsigned reasoning is only sent back before tool calls.
  const content =
    toolCalls.length > 0 ? said : said.filter((part) => part.type !== "reasoning" || part.opaque !== undefined)
  return {
    role: "assistant",
    content: content.length === 0 ? "" : simple<Chat.RefusalPart | Chat.ReasoningPart>(content),
    ...(toolCalls.length > 0 && { toolCalls })
  }
}

const jsonOf = (value: unknown, at: string): Chat.Json => {
  const text = jsonText(value ?? null)
  return text === undefined ? refuse(at, "a JSON value") : JSON.parse(text)
}

const resultOf = ({ modelOutput, result }: Prompt.ToolResultPart, at: string): Chat.ToolMessage["content"] =>
  modelOutput === undefined
    ? typeof result === "string"
      ? result
      : (jsonText(result ?? null) ?? refuse(`${at}.result`, "a JSON value"))
    : simple<Chat.ImagePart | Chat.FilePart>(
        modelOutput.map((part, i) => (part.type === "text" ? textOf(part) : fileOf(part, `${at}.modelOutput[${i}]`)))
      )

const toolMessages = (message: Prompt.ToolMessage, at: string): ReadonlyArray<Chat.Message> =>
  message.content.flatMap((part, i): ReadonlyArray<Chat.ToolMessage> => {
    if (part.type !== "tool-result") return []
    const { id: toolCallId, isFailure, name } = part
    const content = resultOf(part, `${at}.content[${i}]`)
    return [{ role: "tool", toolCallId, name, content, ...(isFailure && { isError: true }) }]
  })

const messagesOf = (message: Prompt.Message, at: string): ReadonlyArray<Chat.Message> => {
  switch (message.role) {
    case "system":
      return [systemMessage(message)]
    case "user":
      return [userMessage(message, at)]
    case "assistant":
      return [assistantMessage(message, at)]
    case "tool":
      return toolMessages(message, at)
  }
}

const toolOf = (tool: Tool.Any): Chat.Tool => {
  if (Tool.isProviderDefined(tool)) {
    throw new Refusal(
      new AiError.ToolConfigurationError({
        toolName: tool.name,
        description: "a provider's tool is unknown to the other targets of a route"
      })
    )
  }
  const description = Tool.getDescription(tool)
  const strict = Tool.getStrictMode(tool)
  return {
    name: tool.name,
    parameters: fromSchema(() => parametersOf(tool)),
    ...(description !== undefined && { description }),
    ...(strict !== undefined && { strict })
  }
}

/** Makes a schema. Effect throws for one that providers cannot take. */
const fromSchema = <A>(make: () => A): A => {
  try {
    return make()
  } catch (error) {
    throw new Refusal(
      new AiError.UnsupportedSchemaError({ description: error instanceof Error ? error.message : String(error) })
    )
  }
}

const choiceOf = (choice: LanguageModel.ToolChoice<string>): Chat.ToolChoice =>
  // Effect has already filtered the tools if the choice names several.
  typeof choice === "string" ? choice : "tool" in choice ? { name: choice.tool } : (choice.mode ?? "auto")

/** The output of a request. `holding` fits the schema to each target. */
const outputOf = ({
  objectName,
  schema
}: LanguageModel.ProviderOptions["responseFormat"] & { readonly type: "json" }) => {
  // Runs here too, where a schema without a form for providers can be rejected.
  const { jsonSchema } = fromSchema(() => transformer(schema as Schema.Constraint as Schema.Codec<unknown>))
  return {
    type: "json",
    name: objectName.replace(/[^\w-]/g, "_").slice(0, 64),
    schema: jsonSchema
  } satisfies Chat.Output
}

/** Returns the request for the options of a call, or the reason why there is none. Nothing throws. */
export const toRequest = (
  { prompt, responseFormat, toolChoice, tools }: LanguageModel.ProviderOptions,
  fields: GatewayModel.RequestFields | undefined
): Result.Result<Chat.Request, AiError.AiErrorReason> => {
  try {
    return Result.succeed({
      ...fields,
      messages: prompt.content.flatMap((message, i) => messagesOf(message, `prompt[${i}]`)),
      ...(tools.length > 0 && { tools: tools.map(toolOf), toolChoice: choiceOf(toolChoice) }),
      ...(responseFormat.type === "json" && { output: outputOf(responseFormat) })
    })
  } catch (thrown) {
    if (thrown instanceof Refusal) return Result.fail(thrown.reason)
    throw thrown
  }
}

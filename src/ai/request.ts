/**
 * From a prompt of `effect/ai` to a request of `Chat`. What `Chat` cannot say is refused by its place in the prompt.
 */
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Chat from "../Chat.ts"
import { jsonText } from "../internal/data/json.ts"
import type { RequestFields } from "./GatewayModel.ts"
import { parametersOf, transformer } from "./schema.ts"

/** A refusal on its way out of the mapping; `toRequest` catches it. */
class Refusal {
  readonly reason: AiError.AiErrorReason
  constructor(reason: AiError.AiErrorReason) {
    this.reason = reason
  }
}

const refuse = (field: string, accepted: string): never => {
  throw new Refusal(new AiError.InvalidUserInputError({ description: `${field}: must be ${accepted}` }))
}

// The first bytes of a picture, in base64. `image/*` says that the caller does not know.
const signatures: ReadonlyArray<readonly [start: string, mediaType: string]> = [
  ["iVBORw0KGgo", "image/png"],
  ["/9j/", "image/jpeg"],
  ["R0lGOD", "image/gif"],
  ["UklGR", "image/webp"]
]

const imageOf = (part: Prompt.FilePart, at: string): Chat.ImagePart => {
  const { data, mediaType } = part
  if (!mediaType.startsWith("image/")) return refuse(`${at}.mediaType`, "that of an image: Chat has no other files")
  if (data instanceof URL) return { type: "image", url: data.href }
  // Base64 has no colon.
  if (typeof data === "string" && /^(?:data|https?):/.test(data)) return { type: "image", url: data }
  const base64 = typeof data === "string" ? data : Base64.encode(data)
  const found = mediaType === "image/*" ? signatures.find(([start]) => base64.startsWith(start))?.[1] : mediaType
  return { type: "image", data: base64, mediaType: found ?? refuse(`${at}.mediaType`, "exact, for example image/png") }
}

const userMessage = (message: Prompt.UserMessage, at: string): Chat.Message => {
  const [first, ...rest] = message.content
  // One text is the usual message, and a plain string is what every provider takes.
  if (first?.type === "text" && rest.length === 0) return { role: "user", content: first.text }
  return {
    role: "user",
    content: message.content.map((part, i) =>
      part.type === "text" ? { type: "text", text: part.text } : imageOf(part, `${at}.content[${i}]`)
    )
  }
}

const signatureOf = ({ options }: Prompt.ToolCallPart): { readonly signature?: string } => {
  const signature = options.gateway?.signature
  return typeof signature === "string" ? { signature } : {}
}

const assistantMessage = (message: Prompt.AssistantMessage, at: string): Chat.AssistantMessage => {
  const texts: Array<Chat.TextPart> = []
  const thoughts: Array<Chat.ReasoningPart> = []
  const toolCalls: Array<Chat.ToolCall> = []
  message.content.forEach((part, i) => {
    const place = `${at}.content[${i}]`
    switch (part.type) {
      case "text":
        texts.push({ type: "text", text: part.text })
        return
      case "reasoning":
        thoughts.push({ type: "reasoning", text: part.text })
        return
      case "tool-call":
        if (part.providerExecuted) refuse(place, "a call of a tool of the program: those of a provider stay there")
        toolCalls.push({
          id: part.id,
          name: part.name,
          arguments: jsonOf(part.params, `${place}.params`),
          ...signatureOf(part)
        })
        return
      case "tool-result":
        refuse(place, "the result of a tool of the program: those of a provider stay there")
        return
      case "file":
        refuse(place, "text, reasoning or a tool call: Chat has no files of the model")
        return
      case "tool-approval-request":
        // Between the program and its user.
        return
    }
  })
  // As `Chat.fromReply`: only before tool calls do providers want to see what was thought.
  const content = toolCalls.length > 0 ? [...thoughts, ...texts] : texts
  const [first, ...rest] = content
  return {
    role: "assistant",
    content: first === undefined ? "" : first.type === "text" && rest.length === 0 ? first.text : content,
    ...(toolCalls.length > 0 && { toolCalls })
  }
}

const jsonOf = (value: unknown, at: string): Chat.Json => {
  const text = jsonText(value ?? null)
  return text === undefined ? refuse(at, "a JSON value") : JSON.parse(text)
}

const resultText = ({ modelOutput, result }: Prompt.ToolResultPart, at: string): string => {
  if (modelOutput === undefined) {
    return typeof result === "string" ? result : (jsonText(result ?? null) ?? refuse(`${at}.result`, "a JSON value"))
  }
  return modelOutput
    .map((part, i) =>
      part.type === "text" ? part.text : refuse(`${at}.modelOutput[${i}]`, "text: Chat has no files in tool results")
    )
    .join("\n")
}

const messagesOf = (message: Prompt.Message, at: string): ReadonlyArray<Chat.Message> => {
  switch (message.role) {
    case "system":
      return [{ role: "system", content: message.content }]
    case "user":
      return [userMessage(message, at)]
    case "assistant":
      return [assistantMessage(message, at)]
    case "tool":
      return message.content.flatMap(
        (part, i): ReadonlyArray<Chat.Message> =>
          part.type === "tool-result"
            ? [{ role: "tool", toolCallId: part.id, name: part.name, content: resultText(part, `${at}.content[${i}]`) }]
            : []
      )
  }
}

const toolOf = (tool: Tool.Any): Chat.Tool => {
  if (Tool.isProviderDefined(tool)) {
    throw new Refusal(
      new AiError.ToolConfigurationError({
        toolName: tool.name,
        description: "a tool of a provider is not known to the other targets of a route"
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

/** A schema without a form that providers take throws. */
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
  // The tools are filtered already where the choice names several.
  typeof choice === "string" ? choice : "tool" in choice ? { name: choice.tool } : (choice.mode ?? "auto")

/** The schema itself is fitted to each target: see `holding`. */
const outputOf = ({
  objectName,
  schema
}: LanguageModel.ProviderOptions["responseFormat"] & { readonly type: "json" }) => {
  // Here, where a schema without a form for providers can be refused.
  const { jsonSchema } = fromSchema(() => transformer(schema as Schema.Constraint as Schema.Codec<unknown>))
  return {
    type: "json",
    name: objectName.replace(/[^\w-]/g, "_").slice(0, 64),
    schema: jsonSchema
  } satisfies Chat.Output
}

/** The request behind the options of a call, or why there is none. Nothing throws. */
export const toRequest = (
  { prompt, responseFormat, toolChoice, tools }: LanguageModel.ProviderOptions,
  fields: RequestFields | undefined
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

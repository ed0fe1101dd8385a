/**
 * Reads chat completion requests as neutral ones.
 *
 * OpenAI accepts `null` for an absent value, and clients write fields at their defaults; both are ignored. Fields
 * without a neutral form are rejected by name, or skipped if only the conversation counts. Shapes:
 * https://platform.openai.com/docs/api-reference/chat/create.
 */
import * as Result from "effect/Result"
import { defined } from "../../data/defined.ts"
import type {
  AssistantMessage,
  FilePart,
  ImagePart,
  JsonSchema,
  Message,
  Output,
  RefusalPart,
  Request,
  TextPart,
  Tool,
  ToolCall,
  ToolChoice
} from "../chat.ts"
import { checked } from "../checked.ts"
import {
  afterThought,
  attempt,
  type Fields,
  fields,
  type Issue,
  isFields,
  list,
  refuse,
  text,
  toolArguments
} from "../codec.ts"
import { signatureOf } from "../openai.ts"
import { details, flag, given, number, optional, settings, word } from "./openaiSettings.ts"

/** A request of an OpenAI client. */
export interface ChatCall {
  readonly request: Request
  /** The model that the body names, if any. */
  readonly model?: string
  readonly stream: boolean
  /** Whether a stream should end with its usage. */
  readonly includeUsage: boolean
}

/**
 * Treatment of a field without a neutral form. `refuse`: an {@link Issue}, so that nothing that changes the answer is
 * lost. `skip`: it is ignored, and so are the bounds of values.
 */
export type Unsayable = "refuse" | "skip"

/** The accepted value in the {@link Issue} of {@link readChat} for a field without a neutral form. */
export const noSuchField = "no such field"

/** Beyond the bound of every provider: each checks its own. */
const limits = { temperature: 5 }

const isEmpty = (value: unknown): boolean =>
  Array.isArray(value) ? value.length === 0 : isFields(value) && Object.keys(value).length === 0

const oneOf =
  (...values: ReadonlyArray<unknown>) =>
  (value: unknown): boolean =>
    values.includes(value)

const hasTools = ({ tools }: Fields): boolean => given(tools) !== undefined && !isEmpty(tools)

/** Values that mean the same as an absent field. */
const neutralValues: Readonly<Record<string, (value: unknown, body: Fields) => boolean>> = {
  n: oneOf(1),
  store: oneOf(false),
  logprobs: oneOf(false),
  top_logprobs: oneOf(0),
  presence_penalty: oneOf(0),
  frequency_penalty: oneOf(0),
  parallel_tool_calls: (value, body) => value === true || (value === false && !hasTools(body)),
  tool_choice: (value, body) => !hasTools(body) && (value === "auto" || value === "none"),
  function_call: oneOf("auto", "none"),
  functions: isEmpty,
  logit_bias: isEmpty,
  metadata: isEmpty,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  service_tier: oneOf("auto", "default"),
  verbosity: oneOf("medium"),
  stream_options: (_, { stream }) => stream !== true
}

const bodyFields = [
  "model",
  "messages",
  "max_tokens",
  "max_completion_tokens",
  "temperature",
  "top_p",
  "stop",
  "seed",
  "tools",
  "tool_choice",
  "response_format",
  "user",
  "safety_identifier",
  "frequency_penalty",
  "presence_penalty",
  "logprobs",
  "top_logprobs",
  "parallel_tool_calls",
  "reasoning_effort",
  "verbosity",
  "service_tier",
  "prompt_cache_key",
  "metadata",
  "stream",
  "stream_options"
]

/** Returns the values of a list without the skipped ones. */
const some = <A>(values: ReadonlyArray<A | undefined>): ReadonlyArray<A> =>
  values.filter((value): value is A => value !== undefined)

interface Reader {
  readonly tools: (tools: unknown) => ReadonlyArray<Tool>
  readonly choice: (choice: unknown) => ToolChoice | undefined
  readonly output: (format: unknown) => Output | undefined
  readonly message: (message: unknown, i: number) => Message
  /** Rejects fields that are not among `names`; `at` ends with a dot unless it is empty. */
  readonly only: (value: Fields, names: ReadonlyArray<string>, at: string) => void
}

const makeReader = (unsayable: Unsayable): Reader => {
  const unsaid = (field: string, accepted: string): undefined =>
    unsayable === "refuse" ? refuse(field, accepted) : undefined

  const only: Reader["only"] = (value, names, at) => {
    const stray = Object.keys(value).find((name) => given(value[name]) !== undefined && !names.includes(name))
    if (stray !== undefined) unsaid(`${at}${stray}`, noSuchField)
  }

  /** Reads a mark that OpenAI puts on parts. */
  const cacheOf = ({ prompt_cache_breakpoint: mark }: Fields) => (given(mark) === undefined ? {} : { cache: {} })

  const known = (part: Fields, names: ReadonlyArray<string>, at: string): void =>
    only(part, ["type", "prompt_cache_breakpoint", ...names], `${at}.`)

  const textPart = (part: Fields, at: string): TextPart => {
    known(part, ["text"], at)
    return { type: "text", text: text(part.text, `${at}.text`), ...cacheOf(part) }
  }

  const userPart = (value: unknown, at: string): TextPart | ImagePart | FilePart | undefined => {
    const part = fields(value, at)
    if (unsayable === "skip" && (part.type === "input_audio" || part.type === "file")) return undefined
    switch (part.type) {
      case "text":
        return textPart(part, at)
      case "image_url": {
        known(part, ["image_url"], at)
        const { detail, ...image } = fields(part.image_url, `${at}.image_url`)
        only(image, ["url"], `${at}.image_url.`)
        const own = given(detail) === "auto" ? undefined : given(detail)
        return {
          type: "image",
          url: text(image.url, `${at}.image_url.url`),
          ...(own !== undefined && { detail: word(own, `${at}.image_url.detail`, details) }),
          ...cacheOf(part)
        }
      }
      case "input_audio": {
        known(part, ["input_audio"], at)
        const audio = fields(part.input_audio, `${at}.input_audio`)
        only(audio, ["data", "format"], `${at}.input_audio.`)
        const format = word(audio.format, `${at}.input_audio.format`, ["wav", "mp3"] as const)
        return {
          type: "file",
          data: text(audio.data, `${at}.input_audio.data`),
          mediaType: format === "wav" ? "audio/wav" : "audio/mpeg",
          ...cacheOf(part)
        }
      }
      case "file": {
        known(part, ["file"], at)
        const file = fields(part.file, `${at}.file`)
        only(file, ["file_data", "file_id", "filename"], `${at}.file.`)
        const id = optional(file.file_id, `${at}.file.file_id`)
        return {
          type: "file",
          ...defined({
            url: optional(file.file_data, `${at}.file.file_data`),
            fileId: id === undefined ? undefined : { origin: "openai", id },
            name: optional(file.filename, `${at}.file.filename`)
          }),
          ...cacheOf(part)
        }
      }
      default:
        return unsaid(`${at}.type`, "text, image_url, input_audio or file")
    }
  }

  const plainPart = (value: unknown, at: string): TextPart | undefined => {
    const part = fields(value, at)
    return part.type === "text" ? textPart(part, at) : unsaid(`${at}.type`, "text")
  }

  /** Reads a part of an assistant message. */
  const saidPart = (value: unknown, at: string): TextPart | RefusalPart | undefined => {
    const part = fields(value, at)
    if (part.type !== "refusal") return plainPart(part, at)
    only(part, ["type", "refusal"], `${at}.`)
    return { type: "refusal", text: text(part.refusal, `${at}.refusal`) }
  }

  const content = <A>(
    value: unknown,
    at: string,
    part: (value: unknown, at: string) => A | undefined
  ): string | ReadonlyArray<A> =>
    typeof value === "string" ? value : some(parts(value, at).map((item, i) => part(item, `${at}[${i}]`)))

  const parts = (value: unknown, at: string): ReadonlyArray<unknown> =>
    Array.isArray(value) ? value : refuse(at, "a string or an array of parts")

  const call = (value: unknown, at: string): ToolCall | undefined => {
    const own = fields(value, at)
    if (own.type !== undefined && own.type !== "function") return unsaid(`${at}.type`, "function")
    // Clients that join a stream's fragments may leave the index in.
    only(own, ["id", "type", "function", "extra_content", "index"], `${at}.`)
    const body = fields(own.function, `${at}.function`)
    only(body, ["name", "arguments"], `${at}.function.`)
    return {
      id: text(own.id, `${at}.id`),
      name: text(body.name, `${at}.function.name`),
      arguments: toolArguments(body.arguments, `${at}.function.arguments`),
      ...defined({ signature: signatureOf(own) })
    }
  }

  const assistant = (message: Fields, at: string): AssistantMessage => {
    only(message, ["role", "content", "tool_calls", "refusal", "annotations", "reasoning_content"], `${at}.`)
    if (!isEmpty(given(message.annotations) ?? [])) unsaid(`${at}.annotations`, "an empty array")
    const refusal = optional(message.refusal, `${at}.refusal`)
    const calls = given(message.tool_calls)
    const own = given(message.content)
    const silent = own === undefined || own === ""
    if (refusal !== undefined && !silent) unsaid(`${at}.refusal`, "nothing beside content")
    const said =
      refusal !== undefined ? [{ type: "refusal", refusal }] : (own ?? (calls === undefined ? undefined : []))
    return {
      role: "assistant",
      content: afterThought(
        optional(message.reasoning_content, `${at}.reasoning_content`),
        content(said, `${at}.content`, saidPart)
      ),
      ...(calls !== undefined && {
        toolCalls: some(list(calls, `${at}.tool_calls`).map((item, j) => call(item, `${at}.tool_calls[${j}]`)))
      })
    }
  }

  const message: Reader["message"] = (value, i) => {
    const at = `messages[${i}]`
    const own = fields(value, at)
    const known = (...names: ReadonlyArray<string>) => only(own, ["role", "content", ...names], `${at}.`)
    switch (own.role) {
      case "system":
      case "developer":
        known()
        return { role: "system", content: content(own.content, `${at}.content`, plainPart) }
      case "user":
        known()
        return { role: "user", content: content(own.content, `${at}.content`, userPart) }
      case "assistant":
        return assistant(own, at)
      case "tool": {
        known("tool_call_id")
        const said = content(own.content, `${at}.content`, plainPart)
        return {
          role: "tool",
          toolCallId: text(own.tool_call_id, `${at}.tool_call_id`),
          content: typeof said === "string" ? said : said.map((part) => part.text).join("")
        }
      }
      default:
        return refuse(`${at}.role`, "system, developer, user, assistant or tool")
    }
  }

  const tool = (value: unknown, i: number): Tool | undefined => {
    const at = `tools[${i}]`
    const outer = fields(value, at)
    if (outer.type !== "function") return unsaid(`${at}.type`, "function")
    only(outer, ["type", "function"], `${at}.`)
    const own = fields(outer.function, `${at}.function`)
    only(own, ["name", "description", "parameters", "strict"], `${at}.function.`)
    return {
      name: text(own.name, `${at}.function.name`),
      parameters: schema(own.parameters, `${at}.function.parameters`) ?? { type: "object", properties: {} },
      ...defined({
        description: optional(own.description, `${at}.function.description`),
        strict: flag(own.strict, `${at}.function.strict`) === true ? true : undefined
      })
    }
  }

  return {
    message,
    only,
    tools: (tools) => some(list(tools, "tools").map(tool)),
    choice: (choice) => {
      if (choice === "auto" || choice === "none" || choice === "required") return choice
      const at = "tool_choice"
      if (!isFields(choice)) return refuse(at, "auto, none, required or a function")
      if (choice.type === "allowed_tools") {
        only(choice, ["type", "allowed_tools"], `${at}.`)
        const own = fields(choice.allowed_tools, `${at}.allowed_tools`)
        only(own, ["mode", "tools"], `${at}.allowed_tools.`)
        return {
          mode: word(own.mode, `${at}.allowed_tools.mode`, ["auto", "required"] as const),
          allowed: list(own.tools, `${at}.allowed_tools.tools`).map((item, i) => {
            const where = `${at}.allowed_tools.tools[${i}]`
            return text(fields(fields(item, where).function, `${where}.function`).name, `${where}.function.name`)
          })
        }
      }
      if (choice.type !== undefined && choice.type !== "function") return unsaid(`${at}.type`, "function")
      only(choice, ["type", "function"], `${at}.`)
      return { name: text(fields(choice.function, `${at}.function`).name, `${at}.function.name`) }
    },
    output: (value) => {
      const format = fields(value, "response_format")
      if (format.type === "text") return undefined
      if (format.type === "json_object") return { type: "json" }
      if (format.type !== "json_schema") return unsaid("response_format.type", "text, json_object or json_schema")
      const at = "response_format.json_schema"
      const own = fields(format.json_schema, at)
      only(own, ["name", "description", "schema", "strict"], `${at}.`)
      return {
        type: "json",
        ...defined({
          name: optional(own.name, `${at}.name`),
          description: optional(own.description, `${at}.description`),
          schema: schema(own.schema, `${at}.schema`),
          strict: flag(own.strict, `${at}.strict`) === true ? true : undefined
        })
      }
    }
  }
}

const schema = (value: unknown, at: string): JsonSchema | undefined => {
  const own = given(value)
  return own === undefined || isFields(own) ? own : refuse(at, "a JSON Schema object")
}

const stopOf = (value: unknown): ReadonlyArray<string> | undefined => {
  const stop = given(value)
  if (stop === undefined) return undefined
  return typeof stop === "string" ? [stop] : list(stop, "stop").map((item, i) => text(item, `stop[${i}]`))
}

/** Returns the field of the body that a neutral field comes from. */
const sourceOf = (field: string, body: Fields): string =>
  field
    .replace(/^maxTokens$/, given(body.max_completion_tokens) === undefined ? "max_tokens" : "max_completion_tokens")
    .replace(/^topP$/, "top_p")
    .replace(/^(frequency|presence)Penalty$/, "$1_penalty")
    .replace(/^logprobs$/, "top_logprobs")
    .replace(/^cacheKey$/, "prompt_cache_key")
    .replace(/^toolChoice(\.|$)/, "tool_choice$1")
    .replace(/^tool_choice\.name$/, "tool_choice.function.name")
    .replace(/^output\./, "response_format.json_schema.")
    .replace(/^(tools\[\d+\])\./, "$1.function.")
    .replace(/^(messages\[\d+\]\.)toolCallId$/, "$1tool_call_id")
    .replace(/^(messages\[\d+\]\.)toolCalls(\[\d+\]\.)(?!id$)/, "$1tool_calls$2function.")
    .replace(/^(messages\[\d+\]\.)toolCalls/, "$1tool_calls")
    .replace(/^(messages\[\d+\]\.content\[\d+\]\.)url$/, "$1image_url.url")

/** Reads a parsed body. Paths in an {@link Issue} refer to the body. */
export const readChat = (body: unknown, unsayable: Unsayable): Result.Result<ChatCall, Issue> => {
  const read = attempt((): ChatCall => {
    const own = fields(body, "body")
    const reader = makeReader(unsayable)
    const said: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(own)) {
      if (value !== null && neutralValues[name]?.(value, own) !== true) said[name] = value
    }
    // A reply holds one answer.
    if (said.n !== undefined && unsayable === "refuse") refuse("n", "1")
    reader.only(said, bodyFields, "")
    const options = said.stream_options === undefined ? {} : fields(said.stream_options, "stream_options")
    return {
      request: {
        messages: list(said.messages, "messages").map(reader.message),
        ...defined({
          maxTokens:
            number(said.max_completion_tokens, "max_completion_tokens") ?? number(said.max_tokens, "max_tokens"),
          temperature: number(said.temperature, "temperature"),
          topP: number(said.top_p, "top_p"),
          stop: stopOf(said.stop),
          seed: number(said.seed, "seed"),
          tools: said.tools === undefined ? undefined : reader.tools(said.tools),
          toolChoice: said.tool_choice === undefined ? undefined : reader.choice(said.tool_choice),
          output: said.response_format === undefined ? undefined : reader.output(said.response_format),
          user: optional(said.user, "user") ?? optional(said.safety_identifier, "safety_identifier"),
          ...(unsayable === "refuse" ? settings(said) : {})
        })
      },
      ...defined({ model: optional(said.model, "model") }),
      stream: flag(said.stream, "stream") === true,
      includeUsage: flag(options.include_usage, "stream_options.include_usage") === true
    }
  })
  if (Result.isFailure(read) || unsayable === "skip") return read
  const bounded = attempt(() => checked(read.success.request, limits))
  return Result.isSuccess(bounded)
    ? read
    : Result.fail({ ...bounded.failure, field: sourceOf(bounded.failure.field, fields(body, "body")) })
}

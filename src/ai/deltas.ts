/**
 * Translates the deltas of a streamed answer to the parts of `effect/ai`, as `reply.ts` does for a complete one.
 */
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Result from "effect/Result"
import type * as Chat from "../Chat.ts"
import { defined } from "../internal/data/defined.ts"
import type { StreamSummary } from "../Router.ts"
import {
  type AnswerFacts,
  callPart,
  filesOf,
  finishPart,
  metadataPart,
  type Offered,
  opaqueOf,
  sourcePart,
  withMetadata,
  withoutFiles
} from "./reply.ts"

type Part = Response.StreamPartEncoded

interface OpenCall {
  readonly id: string
  name: string
  json: string
  signature: string | undefined
  isAnnounced: boolean
}

/** The kind of the open part. A refusal is text with a mark. */
type Block = "text" | "reasoning" | "refusal"

const nameOf = (block: Block): "text" | "reasoning" => (block === "reasoning" ? "reasoning" : "text")

/** The parts of one stream, in order. */
export class StreamParts {
  private readonly offered: Offered
  private readonly timestamp: string
  private readonly calls = new Map<number, OpenCall>()
  private readonly other: Array<Chat.Json> = []
  private readonly logprobs: Array<Chat.TokenLogprob> = []
  private block: Block | undefined
  private blocks = 0
  private sources = 0
  private usage: Chat.Usage | undefined
  private tier: string | undefined
  private stopSequence: string | undefined
  /** Absent until the answer is complete. */
  finishReason: Chat.FinishReason | undefined
  /** The provider's id of the answer. */
  id: string | undefined

  constructor(offered: Offered, timestamp: string) {
    this.offered = offered
    this.timestamp = timestamp
  }

  /** Returns the parts that a delta adds. */
  add(delta: Chat.Delta): Array<Part> {
    switch (delta.type) {
      case "text":
      case "reasoning":
      case "refusal":
        return this.said(delta.type, delta.text)
      case "opaque":
        return this.signed(delta)
      case "citation":
        return [sourcePart(delta.citation, ++this.sources)]
      case "toolCall":
        return this.called(delta)
      case "part":
        this.other.push(delta.part)
        return filesOf([delta.part]).slice()
      case "logprobs":
        this.logprobs.push(...delta.logprobs)
        return []
      case "meta":
        this.id = delta.id
        this.tier = delta.tier ?? this.tier
        return [metadataPart(delta.id, delta.model, this.timestamp)]
      case "usage":
        this.usage = delta.usage
        return []
      case "finish":
        this.finishReason = delta.reason
        this.stopSequence = delta.stopSequence
        return []
      case "restart":
        // Routes that restart are rejected before they run.
        return []
    }
  }

  /** Returns the parts at the end of an answer. */
  end(
    summary: StreamSummary,
    answer: Pick<AnswerFacts, "execution" | "cacheStatus">
  ): Result.Result<Array<Part>, AiError.AiErrorReason> {
    const parts = this.close()
    const reason = this.finishReason ?? "other"
    for (const call of this.calls.values()) {
      if (!call.isAnnounced) parts.push(this.announce(call))
      parts.push({ type: "tool-params-end", id: call.id })
      const whole = callOf(call)
      if (whole === undefined) {
        // An answer that was cut off reports it, and its last call cannot be made.
        if (reason === "length" || reason === "contentFilter") continue
        const description = `the arguments of the call of ${call.name} are not JSON, or would change a prototype`
        return Result.fail(new AiError.InvalidOutputError({ description }))
      }
      const part = callPart(this.offered, whole)
      if (Result.isFailure(part)) return Result.fail(part.failure)
      parts.push(part.success)
    }
    const { logprobs, stopSequence, tier } = this
    const usage = summary.usage ?? this.usage
    parts.push(
      finishPart(reason, usage === undefined ? summary : { ...summary, usage }, {
        ...answer,
        ...defined({ stopSequence, tier }),
        logprobs,
        otherParts: withoutFiles(this.other)
      })
    )
    return Result.succeed(parts)
  }

  private said(block: Block, text: string): Array<Part> {
    const parts = this.open(block)
    parts.push({ type: `${nameOf(block)}-delta`, id: String(this.blocks), delta: text })
    return parts
  }

  /** Closes the current part with a signature, or adds a part for content that is not shown. */
  private signed(delta: Chat.Delta & { readonly type: "opaque" }): Array<Part> {
    const block = delta.of ?? "reasoning"
    const parts = this.block === block && delta.redacted !== true ? [] : [...this.close(), ...this.open(block)]
    return [...parts, ...this.close({ opaque: opaqueOf(delta.opaque), redacted: delta.redacted })]
  }

  private called(delta: Chat.Delta & { readonly type: "toolCall" }): Array<Part> {
    const call = this.calls.get(delta.index) ?? {
      id: delta.id ?? `call_${delta.index}`,
      name: "",
      json: "",
      signature: undefined,
      isAnnounced: false
    }
    this.calls.set(delta.index, call)
    // Some servers send the name in pieces, others repeat it with each piece.
    if (delta.name !== undefined && delta.name !== call.name) call.name += delta.name
    call.json += delta.arguments
    call.signature = delta.signature ?? call.signature
    // The name is complete when arguments follow.
    if (delta.arguments === "") return []
    const parts = call.isAnnounced ? [] : [...this.close(), this.announce(call)]
    parts.push({ type: "tool-params-delta", id: call.id, delta: delta.arguments })
    return parts
  }

  private announce(call: OpenCall): Part {
    call.isAnnounced = true
    return { type: "tool-params-start", id: call.id, name: call.name }
  }

  private open(block: Block): Array<Part> {
    if (this.block === block) return []
    const parts = this.close()
    this.block = block
    parts.push({ type: `${nameOf(block)}-start`, id: String(++this.blocks) })
    return parts
  }

  private close(metadata: Parameters<typeof withMetadata>[0] = {}): Array<Part> {
    const { block } = this
    if (block === undefined) return []
    this.block = undefined
    const marked = block === "refusal" ? { ...metadata, refusal: true } : metadata
    return [{ type: `${nameOf(block)}-end`, id: String(this.blocks), ...withMetadata(marked) }]
  }
}

/** Returns a call whose arguments are complete. */
const callOf = ({ id, json, name, signature }: OpenCall): Chat.ToolCall | undefined => {
  try {
    const value = json === "" ? {} : (Tool.unsafeSecureJsonParse(json) as Chat.Json)
    return { id, name, arguments: value, signature }
  } catch {
    return undefined
  }
}

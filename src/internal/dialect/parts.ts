/**
 * Collects the parts of an answer, for bodies and streams alike, so that both give the same result.
 */
import { defined, type Mutable } from "../data/defined.ts"
import type { Citation, FilePart, ImagePart, Opaque, ReasoningPart, RefusalPart, ReplyPart, TextPart } from "./chat.ts"

/** Parts of one answer, in order. */
export interface Parts {
  /** Adds text to the last part, or begins one. A part with a signature or citations is closed. */
  readonly say: (type: "text" | "reasoning" | "refusal", words: string) => void
  /** Signs the last part, or adds a part for content that is not shown. */
  readonly sign: (opaque: Opaque, type: "text" | "reasoning", isRedacted?: boolean) => void
  /** Adds a source to the text before it. */
  readonly cite: (citation: Citation) => void
  readonly add: (part: ImagePart | FilePart) => void
  /** Returns all texts, joined; a refusal if there is none. */
  readonly text: () => string
  readonly joined: (type: "reasoning" | "refusal") => string
  /** Returns the parts if text and reasoning do not hold all of the answer. */
  readonly content: () => ReadonlyArray<ReplyPart> | undefined
}

type Said = Mutable<TextPart> | Mutable<ReasoningPart> | Mutable<RefusalPart>

export const makeParts = (): Parts => {
  const parts: Array<Said | ImagePart | FilePart> = []
  let isPlain = true

  const last = (type: string): Said | undefined => {
    const part = parts.at(-1)
    return part?.type === type && part.type !== "image" && part.type !== "file" ? part : undefined
  }

  const joined = (type: string): string =>
    parts.map((part) => (part.type === type && "text" in part ? part.text : "")).join("")

  return {
    say: (type, words) => {
      const open = last(type)
      if (type === "refusal") isPlain = false
      if (open !== undefined && !("opaque" in open) && !("citations" in open)) open.text += words
      else if (words !== "") parts.push({ type, text: words })
    },
    sign: (opaque, type, isRedacted) => {
      isPlain = false
      const open = isRedacted ? undefined : last(type)
      if (open !== undefined && open.type !== "refusal" && open.opaque === undefined) open.opaque = opaque
      else parts.push({ type, text: "", opaque, ...(isRedacted && { redacted: true }) })
    },
    cite: (citation) => {
      // An image may come between the text and its sources.
      const open = parts.findLast((part) => part.type === "text")
      if (open === undefined) return
      isPlain = false
      open.citations = [...(open.citations ?? []), citation]
    },
    add: (part) => {
      isPlain = false
      parts.push(part)
    },
    text: () => joined("text") || joined("refusal"),
    joined,
    content: () => (isPlain ? undefined : parts)
  }
}

/** Returns the fields of a reply that its parts determine. */
export const saidBy = (parts: Parts) => {
  const [reasoning, refusal] = [parts.joined("reasoning"), parts.joined("refusal")]
  return defined({
    reasoning: reasoning || undefined,
    refusal: refusal || undefined,
    content: parts.content()
  })
}

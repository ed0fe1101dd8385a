/** Entries of an input, and the conversion of its lines to requests. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Chat from "../../Chat.ts"
import { maxIdLength } from "../../internal/data/idIndex.ts"
import { isRecord, strayField } from "../../internal/data/json.ts"
import { problemOf, unwritable } from "../../internal/data/writable.ts"
import { checked, requestFields } from "../../internal/dialect/checked.ts"
import { attempt } from "../../internal/dialect/codec.ts"
import type { OnLine, Unreadable } from "./lines.ts"

/** A line that can be sent. */
export interface InputItem<A> {
  readonly _tag: "Item"
  readonly id: string
  /** Its first line, from 1. */
  readonly line: number
  readonly input: A
  /** Present when the item has no id of its own and is named after its line. */
  readonly unnamed?: true
}

/** A line that cannot be sent. It ends as a dead letter. */
export interface Malformed {
  readonly _tag: "Malformed"
  /** Its own id where that can be read, otherwise its line's. */
  readonly id: string
  readonly line: number
  /** The field and its accepted values; no value. */
  readonly problem: string
  /** Like `unnamed` of an item. */
  readonly unnamed?: true
}

/** An entry of an input. */
export type InputEntry<A> = InputItem<A> | Malformed

/** Converts lines to entries. */
export interface Parser {
  /** Entries come in order, one or none for a line. */
  readonly onLine: OnLine
  /** Ends the input. */
  readonly end: () => void
  /** Why the complete input is unreadable, once known. */
  readonly refused: () => string | undefined
}

/** Makes a parser that passes its entries to `onEntry`. */
export type MakeParser<A> = (onEntry: (entry: InputEntry<A>) => void) => Parser

/** Reader of a format. */
export interface EntryReader<A> {
  /** Description of its lines, for messages. */
  readonly accepted: string
  readonly entries: MakeParser<A>
  /** Reads only the ids of entries, in a third of the time. A malformed entry may look like an item. */
  readonly ids: MakeParser<undefined>
}

/** Name of an item without an id: stable over the same input only. */
const lineId = (line: number): string => `line-${line}`

/** Whether an id is the name of a line, or looks like one. */
export const isLineId = (id: string): boolean => /^line-[1-9]\d*$/.test(id)

/** A malformed line without an id of its own. */
export const malformedLine = (line: number, problem: string): Malformed => ({
  _tag: "Malformed",
  id: lineId(line),
  line,
  problem,
  unnamed: true
})

const idAccepted = (value: unknown): string =>
  typeof value === "number" && Number.isInteger(value)
    ? `a whole number of at most ${Number.MAX_SAFE_INTEGER}; a larger one as a text, in quotes`
    : `a text of 1 to ${maxIdLength} characters, or a whole number`

/** The name of an entry, and the problem with its id, if there is one. */
export interface Named {
  readonly name: Pick<Malformed, "id" | "unnamed">
  readonly problem?: string
}

/** The id in a field, or its problem. Numbers are written as text. */
export const idOf = (value: unknown, field: string, line: number): Named => {
  if (value === undefined) return { name: { id: lineId(line), unnamed: true } }
  if (typeof value === "string" && value !== "" && value.length <= maxIdLength) {
    if (!/\p{Cs}/u.test(value)) return { name: { id: value } }
    return {
      name: { id: lineId(line), unnamed: true },
      problem: `${field}: expected a text without halves of surrogate pairs`
    }
  }
  if (Number.isSafeInteger(value)) return { name: { id: String(value) } }
  return { name: { id: lineId(line), unnamed: true }, problem: `${field}: expected ${idAccepted(value)}` }
}

const unreadable: Readonly<Record<Unreadable, string>> = {
  long: "the line is too long: expected at most 16 MB",
  encoding: "the line cannot be read: expected UTF-8"
}

/** An entry of an unreadable line. */
export const unreadableLine = (line: number, why: Unreadable): Malformed => malformedLine(line, unreadable[why])

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Description of the expected line for one that is not a JSON object, with the mistake if it is a common one. */
const expectedObject = (text: string, value: unknown): string => {
  const object = "expected a JSON object"
  if (value !== undefined) return `${object}, not another JSON value`
  const line = text.trim()
  const beginning = line.slice(0, 4096)
  const number = /[:[,]\s*(NaN|-?Infinity)\s*[,}\]]/.exec(beginning)?.[1]
  if (number !== undefined) return `${object}: ${number} is no JSON; null is`
  if (/[:[,]\s*(?:None|True|False)\s*[,}\]]/.test(beginning)) return `${object}: JSON has null, true and false`
  if (/^\{.*\}\r\s*\{/.test(beginning)) {
    return `${object} on each line: lines end in line feeds, not in carriage returns alone`
  }
  if (/^\{.*\}\s*\{/.test(beginning)) return `${object} on each line, not several`
  if (/^\{.*\}\s*,$/.test(line)) return `${object} without a comma after it`
  if (/^\{\s*'/.test(beginning)) return `${object}, whose names and texts are in double quotes`
  if (/,\s*[}\]]/.test(beginning) && parse(line.replaceAll(/,(?=\s*[}\]])/g, "")) !== undefined) {
    return `${object} without a comma before the end of an object or array`
  }
  return line.startsWith("{") && !line.endsWith("}") ? `${object} that ends in its line` : object
}

/**
 * A parser of one JSON object per line that skips empty lines. `sound` also reports values that `JSON.parse` accepts
 * but JSON cannot write again: they would be sent as something else, or not at all.
 */
export const jsonLines = <A>(
  read: (object: Record<string, unknown>, line: number) => InputEntry<A>,
  sound = true
): MakeParser<A> => {
  const soundly = (entry: InputEntry<A>, object: Record<string, unknown>): InputEntry<A> => {
    if (entry._tag === "Malformed") return entry
    // Checks the input too, which contains the arguments of tools as JSON inside a text. Deep nesting is checked when
    // the request is encoded: if the engine can write it, it is sent.
    const found = [object, entry.input].map(unwritable).find((one) => one?.tooDeep === false)
    if (found === undefined) return entry
    const { input: _, ...rest } = entry
    return { ...rest, _tag: "Malformed", problem: problemOf(found) }
  }
  return (onEntry) => ({
    onLine: (text, line, why) => {
      if (why !== undefined) return onEntry(unreadableLine(line, why))
      const value = parse(text)
      if (isRecord(value)) {
        const entry = read(value, line)
        return onEntry(sound ? soundly(entry, value) : entry)
      }
      if (value === undefined && text.trim() === "") return
      onEntry(malformedLine(line, expectedObject(text, value)))
    },
    end: () => {},
    refused: () => undefined
  })
}

const decode = Schema.decodeUnknownResult(Chat.RequestSchema, { onExcessProperty: "error" })

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    if (issue._tag === "MissingKey") return "a value"
    return issue._tag === "UnexpectedKey" && SchemaAST.isObjects(issue.ast)
      ? `one of ${issue.ast.propertySignatures.map(({ name }) => String(name)).join(", ")}`
      : SchemaIssue.defaultLeafHook(issue)
  }
})

const pathOf = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path
    .map((part) => (typeof part === "object" ? part.key : part))
    .reduce<string>(
      (text, key) => (typeof key === "number" ? `${text}[${key}]` : `${text}${text === "" ? "" : "."}${String(key)}`),
      ""
    )

/** Each provider has its own upper bound; this one exceeds all of them. */
const limits = { temperature: 5 }

/** Converts unknown data to a request, or returns its problem. */
export const requestOf = (data: unknown): Result.Result<Chat.Request, string> => {
  const decoded = decode(data)
  if (Result.isFailure(decoded)) {
    // The Schema tells what the first form of a message, part or choice lacks; this knows which form is meant.
    const checks = isRecord(data) ? inBounds(data as unknown as Chat.Request) : undefined
    if (checks !== undefined && Result.isFailure(checks)) return Result.fail(checks.failure)
    const [issue] = format(decoded.failure.issue).issues
    const path = pathOf(issue?.path ?? [])
    return Result.fail(
      `${path === "" ? "" : `${path}: `}expected ${issue?.message.replace(/^Expected /, "").replace(/ \| undefined$/, "") ?? "a request"}`
    )
  }
  return inBounds(decoded.success)
}

/** A request of the right shape, or the problem of its values. */
const inBounds = (request: Chat.Request): Result.Result<Chat.Request, string> =>
  Result.mapBoth(
    attempt(() => checked(request, limits)),
    { onSuccess: () => request, onFailure: ({ accepted, field }) => `${field}: expected ${accepted}` }
  )

/**
 * Estimates a request's tokens, in and out, as `Batch` does. 0 for data that is nested too deeply: it is not sent, and
 * its encoding reports that.
 */
export const estimated = (body: unknown, limit = 1024): number => {
  try {
    return Math.ceil(Buffer.byteLength(JSON.stringify(body)) / 3) + limit
  } catch {
    return 0
  }
}

/** Makes the beginning of a conversation. */
export const conversation = (prompt: string, system: string | undefined): ReadonlyArray<Chat.Message> =>
  system === undefined ? [Chat.user(prompt)] : [Chat.system(system), Chat.user(prompt)]

/** Fields of a plain item. */
const ownFields = ["id", "prompt", "messages", "system", ...requestFields.filter((name) => name !== "messages")]

const readPlain = (object: Record<string, unknown>, line: number): InputEntry<Chat.Request> => {
  const { id: given, messages, prompt, system, ...rest } = object
  const { name, problem } = idOf(given, "id", line)
  const malformed = (problem: string): Malformed => ({ _tag: "Malformed", ...name, line, problem })
  if (problem !== undefined) return malformed(problem)
  const stray = strayField(rest, ownFields)
  if (stray !== undefined) return malformed(`${stray}: expected one of ${ownFields.join(", ")}`)
  if (system !== undefined && typeof system !== "string") return malformed("system: expected a text")
  if (prompt === undefined) {
    if (messages === undefined) return malformed("prompt: expected a text, or messages")
    if (system !== undefined) return malformed("system: expected nothing beside messages, which may have a system one")
  } else {
    if (typeof prompt !== "string") return malformed("prompt: expected a text")
    if (messages !== undefined) return malformed("messages: expected nothing beside prompt")
  }
  // Most lines are only a prompt, whose shape is known: checking the schema would dominate their reading time.
  const request =
    prompt === undefined
      ? requestOf({ ...rest, messages })
      : Object.keys(rest).length === 0
        ? inBounds({ messages: conversation(prompt, system) })
        : requestOf({ ...rest, messages: conversation(prompt, system) })
  return Result.isSuccess(request)
    ? { _tag: "Item", ...name, line, input: request.success }
    : malformed(request.failure)
}

/** Reads only the field that names an item. */
export const idsIn = (field: string): MakeParser<undefined> =>
  jsonLines((object, line) => {
    const { name, problem } = idOf(object[field], field, line)
    return problem === undefined
      ? { _tag: "Item", ...name, line, input: undefined }
      : { _tag: "Malformed", ...name, line, problem }
  }, false)

/**
 * JSON lines: `{ "id"?, "prompt", "system"? }` or `{ "id"?, "messages" }`, each with the other fields of a chat
 * request.
 */
export const plain: EntryReader<Chat.Request> = {
  accepted: 'JSON lines such as {"id": "a", "prompt": "Hello"}',
  entries: jsonLines(readPlain),
  ids: idsIn("id")
}

/**
 * Reads stored routes. A Schema checks the shape; the combinators of `Route`, which are passed in as {@link Algebra},
 * check durations, attempts, options and the like.
 */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import { problems as optionsProblems, type Problem } from "../../GatewayOptions.ts"
import { strategies } from "../admission/choice.ts"
import { defined } from "../data/defined.ts"
import { isHeaderName } from "../data/headers.ts"
import { anthropic, anthropicJsonTool } from "../dialect/anthropic.ts"
import type { Input, Reply } from "../dialect/chat.ts"
import { type Dialect, isFields } from "../dialect/codec.ts"
import { type EmbeddingInput, type Embeddings, openaiEmbeddings, workersAiEmbeddings } from "../dialect/embeddings.ts"
import { google, googleVertex } from "../dialect/google.ts"
import { openai, openaiCompatible } from "../dialect/openai.ts"
import { openaiResponses } from "../dialect/responses.ts"
import { workersAi } from "../dialect/workersAi.ts"
import type { BreakerJson, DurationJson, HedgeJson, LimitsJson, OptionsJson, RetryJson, RouteNodeJson } from "./json.ts"
import { fromJsonSchema } from "./jsonSchema.ts"
import { readShape } from "./jsonShape.ts"
import type { BalanceOptions, Leaf, Node } from "./node.ts"
import { makePlan } from "./plan.ts"
import { type Definition, definitionOf, type Kind, type LegOptions, makeLeaf, slotNames, wayOf } from "./providers.ts"

/** Credentials for a stored route; see `Route.FromJsonOptions`. */
export type Credentials = Readonly<
  Record<string, Redacted.Redacted<string> | Readonly<Record<string, Redacted.Redacted<string>>>>
>

/** The combinators of `Route`, on nodes. Each returns an `Invalid` node when it rejects its argument. */
export interface Algebra {
  readonly options: <In, Out>(node: Node<In, Out>, options: OptionsJson) => Node<In, Out>
  readonly deadline: <In, Out>(node: Node<In, Out>, duration: DurationJson) => Node<In, Out>
  readonly circuitBreaker: <In, Out>(node: Node<In, Out>, breaker: BreakerJson | "off") => Node<In, Out>
  readonly limits: <In, Out>(node: Node<In, Out>, limits: LimitsJson | "off") => Node<In, Out>
  readonly hedge: <In, Out>(node: Node<In, Out>, hedge: HedgeJson | "off") => Node<In, Out>
  readonly balance: <In, Out>(nodes: ReadonlyArray<Node<In, Out>>, options: BalanceOptions) => Node<In, Out>
  readonly race: <In, Out>(nodes: ReadonlyArray<Node<In, Out>>, sideEffects: boolean) => Node<In, Out>
  readonly timeout: <In, Out>(node: Node<In, Out>, duration: DurationJson) => Node<In, Out>
  readonly firstTokenTimeout: <In, Out>(node: Node<In, Out>, duration: DurationJson) => Node<In, Out>
  readonly idleTimeout: <In, Out>(node: Node<In, Out>, duration: DurationJson) => Node<In, Out>
  readonly restart: <In, Out>(node: Node<In, Out>, times: number) => Node<In, Out>
  readonly validate: <In, Out>(node: Node<In, Out>, check: Schema.ConstraintDecoder<unknown>) => Node<In, Out>
  readonly retry: <In, Out>(node: Node<In, Out>, policy: RetryJson & { readonly attempts: number }) => Node<In, Out>
}

const formatIssue = /*#__PURE__*/ SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    if (issue._tag === "UnexpectedKey" && SchemaAST.isObjects(issue.ast)) {
      return `one of ${issue.ast.propertySignatures.map(({ name }) => String(name)).join(", ")}`
    }
    return SchemaIssue.defaultLeafHook(issue).replace(/^Expected /, "")
  }
})

const pathText = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`
    const name = String(part)
    if (!/^[\w$-]+$/.test(name)) return `${text}[${JSON.stringify(name)}]`
    return text === "" ? name : `${text}.${name}`
  }, "")

/** The kind of route to read, and the codecs that it may name. */
export interface Reading<In, Out> {
  readonly kind: Kind
  readonly dialects: ReadonlyArray<Dialect<In, Out>>
}

/** Reads chat routes. */
export const chats: Reading<Input, Reply> = {
  kind: "chat",
  dialects: [openai, openaiCompatible, openaiResponses, anthropic, anthropicJsonTool, google, googleVertex, workersAi]
}

/** Reads embedding routes. */
export const embeddings: Reading<EmbeddingInput, Embeddings> = {
  kind: "embeddings",
  dialects: [openaiEmbeddings, workersAiEmbeddings]
}

const bodies = ["fallback", "race", "balance", "route", "provider"] as const
const leafFields = [
  "model",
  "kind",
  "endpoint",
  "dialect",
  "key",
  "headers",
  "credentials",
  "body",
  "allowEmpty",
  "contextWindow",
  ...slotNames
] as const

/** A leaf that was read. It is made a second time when its credentials are known. */
interface Found<In, Out> {
  readonly path: string
  readonly text: string
  readonly definition: Definition
  readonly credentials: ReadonlyArray<string>
  readonly headers: LegOptions["headers"]
  readonly make: (extra: LegOptions) => Result.Result<Leaf<In, Out>, ReadonlyArray<Problem>>
}

class Reader<In, Out> {
  readonly problems: Array<Problem> = []
  readonly found = new Map<Leaf<In, Out>, Found<In, Out>>()
  readonly reading: Reading<In, Out>
  readonly algebra: Algebra
  /** Returns the leaf for the tree; called in the order of the tree. */
  complete: (leaf: Leaf<In, Out>) => Leaf<In, Out> = (leaf) => leaf
  constructor(reading: Reading<In, Out>, algebra: Algebra) {
    this.reading = reading
    this.algebra = algebra
  }

  private refuse(field: string, accepted: string): undefined {
    this.problems.push({ field, accepted })
    return undefined
  }

  /** Takes the node that a combinator made, or records its problem. */
  private accept(made: Node<In, Out>, node: Node<In, Out>, path: string): Node<In, Out> {
    if (made._tag !== "Invalid") return made
    this.refuse(`${path}.${made.problem.field}`, made.problem.accepted)
    return node
  }

  node(json: RouteNodeJson, path: string): Node<In, Out> {
    let node = this.body(json, path) ?? { _tag: "Fallback", routes: [] }
    const {
      circuitBreaker,
      deadline,
      fallbackOn,
      firstTokenTimeout,
      hedge,
      idleTimeout,
      limits,
      options,
      restart,
      retry,
      timeout,
      validate
    } = json
    if (validate !== undefined) {
      const check = fromJsonSchema(validate)
      if (Result.isSuccess(check)) node = this.accept(this.algebra.validate(node, check.success), node, path)
      else for (const { accepted, field } of check.failure) this.refuse(`${path}.${field}`, accepted)
    }
    if (fallbackOn !== undefined) node = { _tag: "FallbackOn", on: fallbackOn, route: node }
    if (retry !== undefined) {
      const policy = { ...retry, attempts: retry.attempts ?? Number.NaN }
      node = this.accept(this.algebra.retry(node, policy), node, path)
    }
    if (restart !== undefined) node = this.accept(this.algebra.restart(node, restart), node, path)
    if (idleTimeout !== undefined) node = this.accept(this.algebra.idleTimeout(node, idleTimeout), node, path)
    if (firstTokenTimeout !== undefined) {
      node = this.accept(this.algebra.firstTokenTimeout(node, firstTokenTimeout), node, path)
    }
    if (timeout !== undefined) node = this.accept(this.algebra.timeout(node, timeout), node, path)
    if (limits !== undefined) node = this.accept(this.algebra.limits(node, limits), node, path)
    if (circuitBreaker !== undefined) {
      node = this.accept(this.algebra.circuitBreaker(node, circuitBreaker), node, path)
    }
    if (hedge !== undefined) node = this.accept(this.algebra.hedge(node, hedge), node, path)
    if (deadline !== undefined) node = this.accept(this.algebra.deadline(node, deadline), node, path)
    if (options !== undefined) {
      // Lists all problems, because the combinator names only the first one.
      const wrong = optionsProblems(options)
      for (const { accepted, field } of wrong) this.refuse(`${path}.options.${field}`, accepted)
      if (wrong.length === 0) node = this.accept(this.algebra.options(node, options), node, `${path}.options`)
    }
    return node
  }

  private body(json: RouteNodeJson, path: string): Node<In, Out> | undefined {
    const given = bodies.filter((name) => json[name] !== undefined)
    if (given.length !== 1) return this.refuse(path, `exactly one of ${bodies.join(", ")}`)
    if (json.sideEffects !== undefined && json.race === undefined) {
      this.refuse(`${path}.sideEffects`, "nothing: it belongs to race, or into hedge")
    }
    if (json.provider !== undefined) return this.leaf(json, json.provider, path)
    for (const name of leafFields) {
      if (json[name] !== undefined) this.refuse(`${path}.${name}`, `nothing beside ${given[0]}`)
    }
    if (json.route !== undefined) return this.node(json.route, `${path}.route`)
    for (const name of ["by", "weights"] as const) {
      if (json[name] !== undefined && json.balance === undefined) {
        this.refuse(`${path}.${name}`, "nothing: it belongs to balance")
      }
    }
    const { balance, by, fallback = [], race, sideEffects = false, weights } = json
    if (balance !== undefined) {
      if (balance.length === 0) return this.refuse(`${path}.balance`, "at least one route")
      if (by === undefined) return this.refuse(`${path}.by`, `one of ${strategies.join(", ")}`)
      const nodes = balance.map((route, i) => this.node(route, `${path}.balance[${i}]`))
      let made = this.algebra.balance(nodes, { by, ...defined({ weights }) })
      while (made._tag === "Invalid" && made.route !== undefined) made = this.accept(made, made.route, path)
      return made
    }
    if (race !== undefined) {
      if (race.length === 0) return this.refuse(`${path}.race`, "at least one route")
      const nodes = race.map((route, i) => this.node(route, `${path}.race[${i}]`))
      return this.algebra.race(nodes, sideEffects)
    }
    if (fallback.length === 0) return this.refuse(`${path}.fallback`, "at least one route")
    return { _tag: "Fallback", routes: fallback.map((route, i) => this.node(route, `${path}.fallback[${i}]`)) }
  }

  private leaf(json: RouteNodeJson, provider: string, path: string): Leaf<In, Out> | undefined {
    const { dialects, kind } = this.reading
    const { allowEmpty, body, contextWindow, credentials = [], endpoint, headers, key, model = "" } = json
    const before = this.problems.length
    const definition = definitionOf(provider)
    if (definition === undefined) {
      return this.refuse(`${path}.provider`, "the slug of a provider, compat, or custom- and a slug")
    }
    if ((json.kind ?? kind) !== kind) this.refuse(`${path}.kind`, kind)
    for (const name of ["allowEmpty", "contextWindow"] as const) {
      if (json[name] !== undefined && kind !== "chat") this.refuse(`${path}.${name}`, "nothing: only chat has it")
    }
    const way = wayOf(definition, kind, model)
    if (way === undefined && (endpoint === undefined || json.dialect === undefined)) {
      this.refuse(`${path}.provider`, `a provider with ${kind} of its own, or endpoint and dialect beside it`)
    }
    const id = json.dialect ?? way?.dialect
    const dialect = dialects.find((one) => one.id === id)
    if (json.dialect !== undefined && dialect === undefined) {
      this.refuse(`${path}.dialect`, `one of ${dialects.map((one) => one.id).join(", ")}`)
    }
    for (const slot of slotNames) {
      if (json[slot] === undefined) continue
      if (definition.slots?.[slot] === undefined) this.refuse(`${path}.${slot}`, `nothing: ${provider} has none`)
      else if (endpoint !== undefined && slot !== "version") this.refuse(`${path}.${slot}`, "nothing beside endpoint")
    }
    credentials.forEach((name, i) => {
      if (!isHeaderName(name) || credentials.indexOf(name) < i || headers?.[name] !== undefined) {
        this.refuse(`${path}.credentials[${i}]`, "the name of a header in lower case that is given once")
      }
    })
    if (dialect === undefined) return undefined
    const options: LegOptions = { allowEmpty, body, contextWindow, endpoint, headers, key, ...defined(slotsOf(json)) }
    const make = (extra: LegOptions) => makeLeaf(definition, kind, dialect, model, { ...options, ...extra })
    // Equal descriptions are one target, wherever they stand.
    const text = JSON.stringify([provider, ...leafFields.map((name) => json[name] ?? null)])
    for (const [leaf, found] of this.found) if (found.text === text) return this.complete(leaf)
    const made = make({})
    if (Result.isFailure(made)) {
      for (const { accepted, field } of made.failure) {
        this.refuse(`${path}.${field === "slug" ? "provider" : field}`, accepted)
      }
    }
    if (Result.isFailure(made) || this.problems.length > before) return undefined
    this.found.set(made.success, { path, text, definition, credentials, headers, make })
    return made.success
  }
}

const slotsOf = ({ apiVersion, deployment, project, region, resource, version }: RouteNodeJson) => ({
  apiVersion,
  deployment,
  project,
  region,
  resource,
  version
})

type Secret = Redacted.Redacted<string>

const secretOf = (given: Credentials[string], header: string, auth: string): Secret | undefined => {
  if (Redacted.isRedacted(given)) return header === auth ? given : undefined
  const value = given[header]
  return Redacted.isRedacted(value) ? value : undefined
}

/** Returns a leaf with its credentials. */
const withCredentials = <In, Out>(
  { credentials, definition, headers, make, path }: Found<In, Out>,
  key: string,
  given: Credentials[string]
): Result.Result<Leaf<In, Out>, ReadonlyArray<Problem>> => {
  const field = `${path}.credentials`
  const problems: Array<Problem> = []
  const secrets: Record<string, Secret> = {}
  for (const header of credentials) {
    const value = secretOf(given, header, definition.auth.header)
    if (value === undefined) {
      problems.push({ field, accepted: `a Redacted value for the header ${header} of ${JSON.stringify(key)}` })
    } else if (value !== given) secrets[header] = value
  }
  if (problems.length > 0) return Result.fail(problems)
  // A single value is the provider's key; a record has complete header values.
  const apiKey = Redacted.isRedacted(given) ? given : undefined
  return Result.mapError(make({ apiKey, headers: { ...headers, ...secrets } }), (wrong) =>
    wrong.map(({ accepted }) => ({ field, accepted }))
  )
}

/** Maximum depth of objects and arrays in one file, because readers of trees are recursive and the stack is finite. */
const maxDepth = 200

const isTooDeep = (json: unknown): boolean => {
  let level = [json]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) return true
    level = level.flatMap(
      (value): Array<unknown> => (isFields(value) || Array.isArray(value) ? Object.values(value) : [])
    )
  }
  return false
}

/** Reads a route, or lists everything that is wrong with it. */
export const read = <In, Out>(
  reading: Reading<In, Out>,
  json: unknown,
  ring: Credentials,
  algebra: Algebra
): Result.Result<Node<In, Out>, ReadonlyArray<Problem>> => {
  if (isTooDeep(json)) return Result.fail([{ field: "json", accepted: `at most ${maxDepth} levels of nesting` }])
  const shaped = readShape(json)
  if (Result.isFailure(shaped)) {
    return Result.fail(
      formatIssue(shaped.failure.issue).issues.map(({ message, path = [] }) => ({
        field: pathText(path.map((part) => (typeof part === "object" ? part.key : part))) || "json",
        accepted: message
      }))
    )
  }
  const reader = new Reader(reading, algebra)
  const node = reader.node(shaped.success.route, "route")
  if (reader.problems.length > 0) return Result.fail(reader.problems)

  const problems: Array<Problem> = []
  const planned = makePlan(node)
  const targets = planned.targets.map(({ key, leaf }) => ({ key, found: reader.found.get(leaf.unchecked ?? leaf) }))
  for (const { accepted, field } of planned.problems) {
    // A problem of a target begins with its key.
    const target = targets.find(({ key }) => field.startsWith(`${key}: `))
    const path = target?.found?.path ?? "route"
    problems.push({
      field: target === undefined ? `${path}: ${field}` : path + field.slice(target.key.length),
      accepted
    })
  }
  // By use and not by leaf: one leaf under two key aliases is two targets, which can have different credentials.
  const made = new Map<string, Leaf<In, Out>>()
  let use = 0
  reader.complete = (leaf) => {
    const found = reader.found.get(leaf)
    const key = planned.targets[use++]?.key ?? ""
    if (found === undefined || found.credentials.length === 0) return leaf
    const owner = [key, leaf.provider].find((name) => Object.hasOwn(ring, name))
    const given = owner === undefined ? undefined : ring[owner]
    if (given === undefined) {
      const accepted = `a credential for ${JSON.stringify(key)} or ${JSON.stringify(leaf.provider)}`
      problems.push({ field: `${found.path}.credentials`, accepted })
      return leaf
    }
    const same = `${owner} ${found.text}`
    const result = withCredentials(found, key, given)
    if (Result.isFailure(result)) {
      problems.push(...result.failure)
      return leaf
    }
    const known = made.get(same) ?? result.success
    made.set(same, known)
    return known
  }
  const completed = reader.node(shaped.success.route, "route")
  return problems.length > 0 ? Result.fail(problems) : Result.succeed(completed)
}

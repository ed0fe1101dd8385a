/**
 * The contenders, and which parts of the job in `contender.ts` each supports. Unsupported parts are hand-written around
 * it, or left out; the tables show both.
 */

/** `itself`; `by hand`: by code around it; `no`: not here. */
export type Ability = "itself" | "by hand" | "no"

/** A contender. */
export interface Entry {
  readonly name: string
  readonly ours: boolean
  /** From `bench/`. */
  readonly module: string
  /** The export of that module. */
  readonly make: string
  /** The folder of `peers/` to install first. */
  readonly folder?: string
  readonly fallback: Ability
  readonly retry: Ability
  readonly timeout: Ability
  /** Whether it decodes streams. */
  readonly streams: boolean
  /** Whether it chooses its own waits between attempts. */
  readonly ownWaits?: boolean
  /** Difference from the job. */
  readonly note?: string
  /** Whether it takes part in the checks of correctness only. */
  readonly checksOnly?: boolean
  /** Whether it requires a network. */
  readonly network?: boolean
  /** Left out of a quick run: a similar contender is present, or it starts slowly. */
  readonly thorough?: boolean
}

const peer = {
  ours: false,
  fallback: "itself",
  retry: "itself",
  timeout: "itself",
  streams: false
} as const satisfies Partial<Entry>
const none = { ...peer, fallback: "no", retry: "no", timeout: "no" } as const
const core = { ...peer, make: "overFetch", folder: "core" } as const
const ai = { ...peer, module: "peers/ai/aiSdk.mjs", folder: "ai", streams: true } as const
const effect = { ...peer, module: "contenders/effect.ts" } as const
const ours = { ...peer, ours: true, module: "contenders/ours.ts", streams: true } as const

const wholeCall = "its time limit covers the complete call"

/** The floor of the ratios. */
export const floor = "raw fetch"

/** All contenders, floors first. */
export const entries: ReadonlyArray<Entry> = [
  { ...none, name: floor, module: "contenders/raw.ts", make: "overFetch" },
  { ...none, name: "raw fetch again", module: "contenders/raw.ts", make: "overFetch", note: "the noise floor" },
  { ...none, name: "raw undici.request", module: "contenders/raw.ts", make: "overUndici" },
  {
    ...peer,
    name: "hand-written loop",
    module: "contenders/handLoop.ts",
    make: "overFetch",
    fallback: "by hand",
    retry: "by hand",
    timeout: "by hand"
  },
  { ...core, name: "cockatiel", module: "peers/core/cockatiel.mjs" },
  {
    ...core,
    name: "p-retry",
    module: "peers/core/pRetry.mjs",
    fallback: "by hand",
    timeout: "by hand",
    thorough: true
  },
  {
    ...core,
    name: "opossum",
    module: "peers/core/opossum.mjs",
    retry: "no",
    note: "does not cancel a request that is late"
  },
  {
    ...none,
    name: "Effect, one request",
    module: "contenders/effect.ts",
    make: "onceOverFetch",
    note: "a request that can be interrupted, and nothing else",
    thorough: true
  },
  { ...effect, name: "Effect retry, timeout", make: "retryOverFetch", fallback: "by hand", thorough: true },
  { ...effect, name: "Effect ExecutionPlan", make: "planOverFetch" },
  { ...effect, name: "Effect ExecutionPlan over undici", make: "planOverUndici", thorough: true },
  { ...core, name: "OpenAI SDK", module: "peers/core/openai.mjs", fallback: "by hand", streams: true, ownWaits: true },
  { ...ai, name: "AI SDK", make: "alone", fallback: "no", note: wholeCall, ownWaits: true, thorough: true },
  {
    ...ai,
    name: "ai-fallback",
    make: "withFallback",
    note: `the AI SDK retries around it; ${wholeCall}`,
    ownWaits: true
  },
  { ...ai, name: "ai-retry", make: "withRetry", thorough: true },
  {
    ...ai,
    name: "ai-gateway-provider",
    thorough: true,
    make: "gatewayFresh",
    note: `models made for each call, because shared ones mix answers up; retries and falls back inside the gateway, which is the upstream here and knows no waits or limits; ${wholeCall}`
  },
  {
    ...ai,
    name: "ai-gateway-provider, one model",
    make: "gatewayShared",
    note: "one model for all calls, as its examples have it",
    checksOnly: true
  },
  {
    ...peer,
    name: "LangChain withFallbacks",
    thorough: true,
    module: "peers/langchain/langchain.mjs",
    make: "withFallbacks",
    folder: "langchain",
    streams: true,
    ownWaits: true
  },
  {
    ...peer,
    name: "Portkey gateway",
    thorough: true,
    module: "peers/portkey/portkey.mjs",
    make: "asProcess",
    folder: "portkey",
    streams: true,
    note: `a process of its own and one hop more, its CPU included`,
    ownWaits: true,
    network: true
  },
  { ...ours, name: "ours over fetch", make: "overFetch", network: true },
  { ...ours, name: "ours over undici", make: "overUndici", network: true },
  { ...ours, name: "ours over the binding", make: "overBinding", note: "over a double of env.AI" }
]

/** The folders that have to be installed for some of them. */
export const folders: ReadonlyArray<string> = [...new Set(entries.flatMap(({ folder }) => folder ?? []))]

/** Unsupported or different parts of a contender, as one remark. */
export const remarkOf = ({ fallback, note, ownWaits, retry, timeout }: Entry): string | undefined => {
  const of = (ability: Ability): ReadonlyArray<string> =>
    Object.entries({ fallback, retry, timeout }).flatMap(([what, how]) => (how === ability ? what : []))
  const missing = of("no").map((what) => `no ${what}`)
  const byHand = of("by hand")
  const parts = [
    ...missing,
    ...(byHand.length > 0 ? [`${byHand.join(", ")} by hand`] : []),
    ...(note === undefined ? [] : [note]),
    ...(ownWaits === true ? ["its waits cannot be set"] : [])
  ]
  return parts.length === 0 ? undefined : parts.join("; ")
}

/**
 * The job of every contender, and their common parts. A contender answers a chat: it calls the first target, up to
 * `attempts` times with growing waits, then the next one; no attempt may take longer than `timeout`.
 */

/** The targets, in the order in which they are asked. All of them speak OpenAI's dialect. */
export const providers: ReadonlyArray<string> = ["openai", "groq", "mistral"]

export const account = "account"
export const gateway = "bench"
export const model = "bench"

/** Description of the job. */
export interface Job {
  /**
   * Address of the upstream, with the behaviour of its targets: `http://127.0.0.1:1234/dead,ok`. Unused with `stub`.
   */
  readonly url: string
  /** How many of {@link providers}. */
  readonly targets: number
  /** Per target. */
  readonly attempts: number
  /** Milliseconds before the second attempt; twice that before the third. */
  readonly delay: number
  /** Milliseconds. */
  readonly timeout: number
  /** Whether there is no network: requests are answered with {@link stubText} at once. */
  readonly stub: boolean
}

/** Operations of a contender for its job. */
export interface Contender {
  /** The text of the answer. */
  readonly ask: (prompt: string) => Promise<string>
  /** The same call over the same transport, without retries, time limits and fallbacks. */
  readonly bare?: () => Promise<string>
  /** `ask` a number of times in one fiber, and `bare` likewise. */
  readonly askMany?: (calls: number) => Promise<void>
  readonly bareMany?: (calls: number) => Promise<void>
  /** Streams an answer, piece by piece. Fails if it does not arrive complete. */
  readonly stream?: (prompt: string, take: (text: string) => void) => Promise<void>
  /** Milliseconds of CPU time of its child processes. */
  readonly cpu?: () => Promise<number>
  readonly close?: () => Promise<void>
}

/** Export of a module in `contenders/` and `peers/`. */
export type Make = (job: Job) => Contender | Promise<Contender>

/** The name of a prompt; the upstream repeats it in its answer. */
export const nameOf = (index: number): string => `q-${index}`

const filler = " what is a fiber".repeat(50)

/** A prompt that makes a request of 1 kB. */
export const promptOf = (index: number): string => nameOf(index) + filler

/** Text of a stub's answer. */
export const stubText = `${nameOf(0)}${" and so on".repeat(80)}`

/** The same as the body of an answer. */
export const stubBody: string = JSON.stringify({
  id: "chatcmpl-0123456789",
  object: "chat.completion",
  created: 1_790_000_000,
  model,
  choices: [{ index: 0, message: { role: "assistant", content: stubText }, finish_reason: "stop" }],
  usage: { prompt_tokens: 150, completion_tokens: 150, total_tokens: 300 }
})

/** Whether a text is the answer to a prompt. */
export const isAnswer = (text: string, index: number): boolean => text.startsWith(`${nameOf(index)} `)

/** Base URL of a provider's API, as its SDK expects it. */
export const baseUrl = ({ url }: Job, target: number): string =>
  `${url}/v1/${account}/${gateway}/${providers[target] ?? ""}`

/** The targets of a job, by index. */
export const targetsOf = ({ targets }: Job): ReadonlyArray<number> => Array.from({ length: targets }, (_, i) => i)

/** The body of a request. */
export const bodyOf = (prompt: string): string =>
  JSON.stringify({ model, messages: [{ role: "user", content: prompt }] })

/** A failure with its status. */
export class HttpFailure extends Error {
  readonly status: number

  constructor(status: number) {
    super(`status ${status}`)
    this.status = status
  }
}

/** Calls a target once. */
export type Call = (target: number, prompt: string, signal?: AbortSignal) => Promise<string>

/** The text of a parsed answer. */
export const textIn = (answer: unknown): string => {
  if (typeof answer === "object" && answer !== null && "choices" in answer && Array.isArray(answer.choices)) {
    const text: unknown = answer.choices[0]?.message?.content
    if (typeof text === "string") return text
  }
  throw new Error("not the answer to a chat")
}

const headers = { "content-type": "application/json" }

/** Calls a target over global `fetch`, hand-written. */
export const fetchCall =
  (job: Job): Call =>
  async (target, prompt, signal) => {
    const response = await fetch(`${baseUrl(job, target)}/chat/completions`, {
      method: "POST",
      headers,
      body: bodyOf(prompt),
      signal: signal ?? null
    })
    if (!response.ok) {
      await response.body?.cancel()
      throw new HttpFailure(response.status)
    }
    return textIn(await response.json())
  }

/** Returns a prepared answer. */
export const stubCall: Call = async () => stubText

/** The call of a policy library: over `fetch`, or a stub. */
export const callOf = (job: Job): Call => (job.stub ? stubCall : fetchCall(job))

/** A `fetch` for clients that bring everything else: their own default, or one with a prepared answer. */
export const fetchOf = ({ stub }: Job): typeof fetch =>
  stub ? async () => new Response(stubBody, { headers }) : globalThis.fetch

/** The same call without a client. */
export const bareFetch = (job: Job): (() => Promise<string>) => {
  if (!job.stub) {
    const call = fetchCall(job)
    return () => call(0, promptOf(0))
  }
  const stub = fetchOf(job)
  return async () => textIn(await (await stub("", { method: "POST", headers, body: bodyOf(promptOf(0)) })).json())
}

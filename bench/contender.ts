/**
 * What every contender is asked to do, and the parts that they have in common. A contender answers a chat: it asks the
 * first target, up to `attempts` times with growing waits, then the next one; no attempt may take longer than
 * `timeout`.
 */

/** The targets, in the order in which they are asked. All of them speak OpenAI's dialect. */
export const providers: ReadonlyArray<string> = ["openai", "groq", "mistral"]

export const account = "account"
export const gateway = "bench"
export const model = "bench"

/** What to do. */
export interface Job {
  /** Of the upstream, with what its targets do: `http://127.0.0.1:1234/dead,ok`. Without meaning where `stub` is. */
  readonly url: string
  /** How many of {@link providers}. */
  readonly targets: number
  /** Per target. */
  readonly attempts: number
  /** Milliseconds before the second attempt; twice that before the third. */
  readonly delay: number
  /** Milliseconds. */
  readonly timeout: number
  /** No network: what would be sent is answered with {@link stubText} at once. */
  readonly stub: boolean
}

/** What a contender can do, once it knows its job. */
export interface Contender {
  /** The text of the answer. */
  readonly ask: (prompt: string) => Promise<string>
  /** The same call over the same transport, without retries, time limits and fallbacks. */
  readonly bare?: () => Promise<string>
  /** `ask` so many times in one fiber, and `bare` so many times. */
  readonly askMany?: (calls: number) => Promise<void>
  readonly bareMany?: (calls: number) => Promise<void>
  /** A streamed answer, piece by piece. Fails where it does not arrive whole. */
  readonly stream?: (prompt: string, take: (text: string) => void) => Promise<void>
  /** Milliseconds of CPU time that processes of its own have used. */
  readonly cpu?: () => Promise<number>
  readonly close?: () => Promise<void>
}

/** What a module of `contenders/` and `peers/` exports. */
export type Make = (job: Job) => Contender | Promise<Contender>

/** Which of the names a prompt has; the upstream repeats it in its answer. */
export const nameOf = (index: number): string => `q-${index}`

const filler = " what is a fiber".repeat(50)

/** A prompt that makes a request of 1 kB. */
export const promptOf = (index: number): string => nameOf(index) + filler

/** The answer to what a stub is asked. */
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

/** Where a provider's API is, as its SDK wants it. */
export const baseUrl = ({ url }: Job, target: number): string =>
  `${url}/v1/${account}/${gateway}/${providers[target] ?? ""}`

/** The targets of a job, by index. */
export const targetsOf = ({ targets }: Job): ReadonlyArray<number> => Array.from({ length: targets }, (_, i) => i)

/** What a request's body says. */
export const bodyOf = (prompt: string): string =>
  JSON.stringify({ model, messages: [{ role: "user", content: prompt }] })

/** A failure that says with which status. */
export class HttpFailure extends Error {
  readonly status: number

  constructor(status: number) {
    super(`status ${status}`)
    this.status = status
  }
}

/** Asks a target once. */
export type Call = (target: number, prompt: string, signal?: AbortSignal) => Promise<string>

/** The text of an answer that is no longer JSON. */
export const textIn = (answer: unknown): string => {
  if (typeof answer === "object" && answer !== null && "choices" in answer && Array.isArray(answer.choices)) {
    const text: unknown = answer.choices[0]?.message?.content
    if (typeof text === "string") return text
  }
  throw new Error("not the answer to a chat")
}

const headers = { "content-type": "application/json" }

/** Asks a target over global `fetch`, as one writes it by hand. */
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

/** Asks nobody: the answer is there. */
export const stubCall: Call = async () => stubText

/** How a policy library asks: over `fetch`, or nobody. */
export const callOf = (job: Job): Call => (job.stub ? stubCall : fetchCall(job))

/** A `fetch` for clients that bring everything else with them: their own default, or one that has the answer. */
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

/**
 * The AI SDK, and what its ecosystem adds to it. The AI SDK counts its time limit over a whole call,
 * retries and fallbacks included.
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { generateText, streamText } from "ai"
import { createFallback } from "ai-fallback"
import { createAiGateway } from "ai-gateway-provider"
import { createGroq } from "ai-gateway-provider/providers/groq"
import { createMistral } from "ai-gateway-provider/providers/mistral"
import { createOpenAI } from "ai-gateway-provider/providers/openai"
import { createRetryableModel, error } from "ai-retry/language-model"
import {
  account,
  bareFetch,
  baseUrl,
  fetchOf,
  gateway,
  model as modelId,
  providers,
  stubBody,
  targetsOf
} from "../../contender.ts"

/** Warnings go to the console once per model, and models are made per call here. */
globalThis.AI_SDK_LOG_WARNINGS = false

const modelsOf = (job) =>
  targetsOf(job).map((target) => {
    // Under one name ai-retry would take them for the same target.
    const name = providers[target]
    const baseURL = job.stub ? "http://127.0.0.1/v1" : baseUrl(job, target)
    return createOpenAICompatible({ name, baseURL, apiKey: "key", fetch: fetchOf(job) }).chatModel(modelId)
  })

/** The limit of the AI SDK itself. */
const wholeCall = ({ timeout }) => ({ timeout })

/** `modelOf` is asked for a model per call, `streaming` for one per stream. */
const contender = (job, maxRetries, modelOf, streaming = modelOf, limit = wholeCall) => ({
  ask: async (prompt) => {
    const { text } = await generateText({ model: modelOf(), prompt, maxRetries, ...limit(job) })
    return text
  },
  bare: bareFetch(job),
  stream: async (prompt, take) => {
    let failure
    const { textStream } = streamText({
      model: streaming(),
      prompt,
      maxRetries,
      ...limit(job),
      onError: (thrown) => {
        failure = thrown.error
      }
    })
    for await (const text of textStream) take(text)
    if (failure !== undefined) throw failure
  }
})

/** @type {import("../../contender.ts").Make} */
export const alone = (job) => {
  const [model] = modelsOf(job)
  return contender(job, job.attempts - 1, () => model)
}

/** @type {import("../../contender.ts").Make} */
export const withFallback = (job) => {
  const models = modelsOf(job)
  // Each call begins with the first target, as everybody else's do. A stream must not: with no interval it goes round for ever.
  const model = createFallback({ models, modelResetInterval: 0 })
  const streaming = createFallback({ models, modelResetInterval: 60_000 })
  return contender(
    job,
    job.attempts - 1,
    () => model,
    () => streaming
  )
}

/** @type {import("../../contender.ts").Make} */
export const withRetry = (job) => {
  const { delay, timeout } = job
  const [model, ...others] = modelsOf(job)
  const again = (maxAttempts) => error.isRetryable(true).retry({ delay, backoffFactor: 2, maxAttempts, timeout })
  const next = others.map((model) => ({ model, timeout }))
  const retryable = createRetryableModel({ model, retries: job.attempts > 1 ? [again(job.attempts), ...next] : next })
  const modelOf = () => retryable
  // It gives each later attempt a limit of its own when the first one's was a signal.
  return contender(job, 0, modelOf, modelOf, () => ({ abortSignal: AbortSignal.timeout(timeout) }))
}

/** The binding as `ai-gateway-provider` calls it, with the upstream behind it: the gateway walks the targets. */
const bindingOf = (job) => ({
  run: async (legs, { signal }) =>
    job.stub
      ? new Response(stubBody, { headers: { "content-type": "application/json" } })
      : fetch(`${job.url}/v1/${account}/${gateway}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(legs),
          signal
        })
})

/** Fakes have to claim the hosts of real providers; what they would send there is intercepted. */
const makers = [createOpenAI({ apiKey: "key" }).chat, createGroq({ apiKey: "key" }), createMistral({ apiKey: "key" })]

const throughGateway = (job) => {
  const options = {
    requestTimeoutMs: job.timeout,
    retries: { maxAttempts: job.attempts, retryDelayMs: job.delay, backoff: "exponential" }
  }
  const aigateway = createAiGateway({ binding: bindingOf(job), options })
  return () => aigateway(targetsOf(job).map((target) => makers[target](modelId)))
}

/** @type {import("../../contender.ts").Make} */
export const gatewayFresh = (job) => contender(job, 0, throughGateway(job))

/** One model for all calls, as its own examples have it. */
export const gatewayShared = (job) => {
  const model = throughGateway(job)()
  return contender(job, 0, () => model)
}

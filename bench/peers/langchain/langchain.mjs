import { ChatOpenAI } from "@langchain/openai"
import { bareFetch, baseUrl, fetchOf, model, targetsOf } from "../../contender.ts"

/** @type {import("../../contender.ts").Make} */
export const withFallbacks = (job) => {
  const [first, ...others] = targetsOf(job).map(
    (target) =>
      new ChatOpenAI({
        model,
        apiKey: "key",
        maxRetries: job.attempts - 1,
        timeout: job.timeout,
        useResponsesApi: false,
        configuration: { baseURL: job.stub ? "http://127.0.0.1/v1" : baseUrl(job, target), fetch: fetchOf(job) }
      })
  )
  const chain = others.length === 0 ? first : first.withFallbacks(others)
  return {
    ask: async (prompt) => (await chain.invoke(prompt)).content,
    bare: bareFetch(job),
    stream: async (prompt, take) => {
      for await (const { content } of await chain.stream(prompt)) if (content !== "") take(content)
    }
  }
}

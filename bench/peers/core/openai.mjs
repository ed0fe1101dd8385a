import OpenAI from "openai"
import { bareFetch, baseUrl, fetchOf, model, targetsOf } from "../../contender.ts"

/** @type {import("../../contender.ts").Make} */
export const overFetch = (job) => {
  const clients = targetsOf(job).map(
    (target) =>
      new OpenAI({
        apiKey: "key",
        baseURL: job.stub ? "http://127.0.0.1/v1" : baseUrl(job, target),
        maxRetries: job.attempts - 1,
        timeout: job.timeout,
        fetch: fetchOf(job)
      })
  )
  const request = (prompt) => ({ model, messages: [{ role: "user", content: prompt }] })
  const ask = async (target, prompt) => {
    const answer = await clients[target].chat.completions.create(request(prompt))
    return answer.choices[0].message.content
  }
  // It has no fallback.
  const from = (target, prompt) =>
    target === job.targets - 1 ? ask(target, prompt) : ask(target, prompt).catch(() => from(target + 1, prompt))
  return {
    ask: (prompt) => from(0, prompt),
    bare: bareFetch(job),
    stream: async (prompt, take) => {
      const chunks = await clients[0].chat.completions.create({ ...request(prompt), stream: true })
      for await (const { choices } of chunks) {
        const text = choices[0]?.delta.content
        if (text) take(text)
      }
    }
  }
}

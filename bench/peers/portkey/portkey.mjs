import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { bareFetch, baseUrl, bodyOf, HttpFailure, model, targetsOf, textIn } from "../../contender.ts"

const answerOf = (child) =>
  new Promise((resolve, reject) => {
    child.once("message", resolve)
    child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}`)))
  })

/** @type {import("../../contender.ts").Make} */
export const asProcess = async (job) => {
  const child = fork(fileURLToPath(new URL("gateway.mjs", import.meta.url)), {
    execArgv: [],
    stdio: ["ignore", "ignore", "ignore", "ipc"]
  })
  const { port } = await answerOf(child)
  const url = `http://127.0.0.1:${port}/v1/chat/completions`
  const config = {
    strategy: { mode: "fallback" },
    request_timeout: job.timeout,
    ...(job.attempts > 1 && { retry: { attempts: job.attempts - 1 } }),
    targets: targetsOf(job).map((target) => ({
      provider: "openai",
      api_key: "key",
      custom_host: baseUrl(job, target)
    }))
  }
  const headers = { "content-type": "application/json", "x-portkey-config": JSON.stringify(config) }
  const send = async (body) => {
    const response = await fetch(url, { method: "POST", headers, body })
    if (response.ok) return response
    await response.body?.cancel()
    throw new HttpFailure(response.status)
  }
  return {
    ask: async (prompt) => textIn(await (await send(bodyOf(prompt))).json()),
    bare: bareFetch(job),
    stream: async (prompt, take) => {
      const messages = [{ role: "user", content: prompt }]
      const response = await send(JSON.stringify({ model, messages, stream: true }))
      let pending = ""
      for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
        const lines = (pending + text).split("\n")
        pending = lines.pop()
        for (const line of lines) {
          if (!line.startsWith("data: ") || line === "data: [DONE]") continue
          const content = JSON.parse(line.slice(6)).choices?.[0]?.delta?.content
          if (content) take(content)
        }
      }
    },
    cpu: async () => {
      const answer = new Promise((resolve) => child.once("message", resolve))
      child.send({})
      return (await answer).cpu
    },
    close: async () => {
      child.removeAllListeners("exit")
      child.disconnect()
    }
  }
}

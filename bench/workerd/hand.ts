/**
 * The work without the library: one call of the binding, a hand-written fallback loop, and that loop with the library's
 * promises.
 */
import type * as GatewayService from "effect-ai-gateway/GatewayService"

export interface Env {
  readonly AI: { gateway(id: string): { run(data: object, options?: object): Promise<Response> } } & Pick<
    GatewayService.AiBinding,
    "gateway"
  >
}

const models = [
  ["openai", "gpt-4.1-mini"],
  ["groq", "llama-3.3-70b-versatile"],
  ["mistral", "mistral-small-latest"]
] as const

const body = (model: string, content: string) => ({ model, messages: [{ role: "user", content }] })

interface Completion {
  readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
}

export const reply = (text: string | undefined, logId: string | null | undefined): Response =>
  Response.json({ text, logId })

/** One call without a fallback. */
export const bare = async (request: Request, env: Env): Promise<Response> => {
  const [[provider, model]] = models
  const response = await env.AI.gateway("gw").run({
    provider,
    endpoint: "chat/completions",
    headers: { "content-type": "application/json" },
    query: body(model, await request.text())
  })
  const completion: Completion = await response.json()
  return reply(completion.choices[0]?.message.content, response.headers.get("cf-aig-log-id"))
}

/** Tries the next provider when one fails. */
export const byHand = async (request: Request, env: Env): Promise<Response> => {
  const prompt = await request.text()
  let last: unknown
  for (const [provider, model] of models) {
    try {
      const response = await env.AI.gateway("gw").run(
        {
          provider,
          endpoint: "chat/completions",
          headers: { "content-type": "application/json" },
          query: body(model, prompt)
        },
        { signal: AbortSignal.timeout(5000) }
      )
      if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
      const completion: Completion = await response.json()
      const text = completion.choices[0]?.message.content
      if (typeof text !== "string") throw new Error("no text")
      return reply(text, response.headers.get("cf-aig-log-id"))
    } catch (error) {
      last = error
    }
  }
  return new Response(String(last), { status: 502 })
}

/**
 * The same with the library's promises: a client that leaves aborts the call, each attempt has its own limit and
 * controller, headers are read once, failures are classified, and recoveries are logged.
 */
export const guarded = async (request: Request, env: Env): Promise<Response> => {
  const prompt = await request.text()
  const failed: Array<string> = []
  for (const [provider, model] of models) {
    const controller = new AbortController()
    const leave = (): void => controller.abort(request.signal.reason)
    request.signal.addEventListener("abort", leave, { once: true })
    const timer = setTimeout(() => controller.abort(new Error("timeout")), 5000)
    try {
      const response = await env.AI.gateway("gw").run(
        {
          provider,
          endpoint: "chat/completions",
          headers: { "content-type": "application/json" },
          query: body(model, prompt)
        },
        {
          gateway: { eventId: crypto.randomUUID(), retries: { maxAttempts: 1 } },
          signal: controller.signal
        }
      )
      clearTimeout(timer)
      const headers: Record<string, string> = {}
      response.headers.forEach((value, name) => {
        headers[name] = value
      })
      const text = await response.text()
      if (!response.ok) {
        failed.push(`${provider}: ${response.status} ${text.slice(0, 2000)}`)
        continue
      }
      const completion: Completion = JSON.parse(text)
      const content = completion.choices[0]?.message.content
      if (typeof content !== "string" || content === "") {
        failed.push(`${provider}: no text`)
        continue
      }
      if (failed.length > 0) console.warn(`answered by ${provider} after ${failed.length}: ${failed.join("; ")}`)
      return reply(content, headers["cf-aig-log-id"])
    } catch (error) {
      if (request.signal.aborted) throw error
      failed.push(`${provider}: ${String(error)}`)
    } finally {
      clearTimeout(timer)
      request.signal.removeEventListener("abort", leave)
    }
  }
  return new Response(failed.join("; "), { status: 502 })
}

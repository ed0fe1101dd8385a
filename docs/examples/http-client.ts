/** A client of `http-server.ts`, for browsers and whatever else has `fetch`. */

/**
 * Sends a prompt once, and calls `onText` with each piece of the answer. Resolves with the log id of the complete
 * answer.
 */
export const ask = async (
  url: string,
  prompt: string,
  onText: (text: string) => void,
  signal?: AbortSignal
): Promise<string | null> => {
  const response = await fetch(`${url}/chat/stream`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt }),
    signal: signal ?? null
  })
  if (!response.ok || response.body === null) {
    const { error } = await response.json()
    throw new Error(`${response.status} ${error.reason}`)
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  try {
    while (true) {
      const { done, value } = await reader.read()
      if (done) throw new Error("the answer broke off")
      const events = (rest + value).split("\n\n")
      rest = events.pop() ?? ""
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        if (data === undefined) continue // A comment: the model is silent.
        if (data === "[DONE]") return response.headers.get("cf-aig-log-id")
        if (event.startsWith("event: error")) throw new Error(data)
        const delta = JSON.parse(data)
        if (delta.type === "text") onText(delta.text)
      }
    }
  } finally {
    // A reader that stops early stops the model too.
    reader.cancel().catch(() => undefined)
  }
}

/** The floors: a request with nothing around it. */
import { request } from "undici"
import {
  baseUrl,
  bodyOf,
  type Call,
  callOf,
  HttpFailure,
  type Job,
  type Make,
  promptOf,
  stubCall,
  textIn
} from "../contender.ts"

const headers = { "content-type": "application/json" }

/** Calls a target over `undici.request`, hand-written. */
export const undiciCall =
  (job: Job): Call =>
  async (target, prompt, signal) => {
    const { body, statusCode } = await request(`${baseUrl(job, target)}/chat/completions`, {
      method: "POST",
      headers,
      body: bodyOf(prompt),
      signal: signal ?? null
    })
    if (statusCode !== 200) {
      await body.dump()
      throw new HttpFailure(statusCode)
    }
    return textIn(await body.json())
  }

const raw =
  (call: (job: Job) => Call): Make =>
  (job) => {
    const ask = job.stub ? stubCall : call(job)
    return { ask: (prompt) => ask(0, prompt), bare: () => ask(0, promptOf(0)) }
  }

export const overFetch: Make = raw(callOf)

export const overUndici: Make = raw(undiciCall)

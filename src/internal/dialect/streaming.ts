/**
 * How each chat dialect streams, by its id.
 */
import { anthropic, anthropicJsonTool } from "./anthropicStream.ts"
import type { Streaming } from "./delta.ts"
import { google } from "./googleStream.ts"
import { openai, openaiCompatible } from "./openaiStream.ts"
import { openaiResponses } from "./responsesStream.ts"
import { workersAi } from "./workersAiStream.ts"

/** Streams by the id of the dialect in `Chat`. */
export const streaming: Readonly<Record<string, Streaming>> = {
  openai,
  "openai-compatible": openaiCompatible,
  "openai-responses": openaiResponses,
  anthropic,
  "anthropic-json-tool": anthropicJsonTool,
  google,
  "google-vertex": google,
  "workers-ai": workersAi
}

/**
 * How each chat dialect streams, by its id.
 */
import { anthropic, anthropicJsonTool } from "./anthropic.ts"
import type { Streaming } from "./delta.ts"
import { google } from "./google.ts"
import { openai, openaiCompatible } from "./openai.ts"
import { workersAi } from "./workersAi.ts"

/** Ids are those of the dialects in `Chat`. */
export const streaming: Readonly<Record<string, Streaming>> = {
  openai,
  "openai-compatible": openaiCompatible,
  anthropic,
  "anthropic-json-tool": anthropicJsonTool,
  google,
  "google-vertex": google,
  "workers-ai": workersAi
}

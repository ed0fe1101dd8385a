/**
 * What the classifier's rules say to their readers: whose body a rule is about, or why it is as it is. Apart from the rules,
 * because a program that runs has no use for it.
 */

/** By id of the rule; most need none. */
export const classifierNotes: Readonly<Record<string, string>> = {
  "cf-2005": "transient, although the status is 400",
  "cf-2008": "another target has another provider",
  "cf-2009-5xx": "Cloudflare's own key, under Unified Billing",
  "cf-2009-provider": "on /ai/run since 2026-10-06",
  "cf-2021": "or the model needs an own key",
  "cf-2040": "no stored key; another provider may have one",
  "cf-7003": "thrown, a bad schema looks the same",
  "context-tokens-per-minute": "Groq: more than a minute's tokens; no wait helps",
  "busy-budget": "402 that waiting cures",
  "output-word": "Groq blames the request",
  "status-transient": "424: Bedrock; 499: Cohere",
  "status-content": "498: Cohere",
  unknown: "never again on the same target",
  "binding-json": "the binding parses answers only",
  "binding-shape": "the binding looks into answers unchecked"
}

/**
 * Notes on the classifier's rules in the docs: the provider that a rule is about, or its reason. They are kept out of
 * the rules, because programs do not need them.
 */

/** By id of the rule; most rules have none. */
export const classifierNotes: Readonly<Record<string, string>> = {
  "cf-2005": "transient, although the status is 400",
  "cf-2008": "another target has another provider",
  "cf-2009-5xx": "Cloudflare's own key, under Unified Billing",
  "cf-2009-provider": "on /ai/run since 2026-10-06",
  "cf-2021": "or the model needs a key of your own",
  "cf-2040": "no stored key; another provider may have one",
  "cf-7003": "when thrown, a bad schema looks the same",
  "context-tokens-per-minute": "Groq: more than a minute's tokens; no wait helps",
  "busy-budget": "a wait helps, although the status is 402",
  "output-word": "Groq blames the request",
  "status-transient": "424: Bedrock; 499: Cohere",
  "status-content": "498: Cohere",
  unknown: "never retried on the same target",
  "binding-json": "the binding parses nothing but answers",
  "binding-shape": "the binding reads answers without checks"
}

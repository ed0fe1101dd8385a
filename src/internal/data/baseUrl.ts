/**
 * Whether a text is a URL to which paths can be appended unchanged. The parser alone would drop white space, an empty
 * query and an empty fragment.
 */
export const isBaseUrl = (text: string): boolean => {
  if (typeof text !== "string" || !/^[^\s?#\\]+$/.test(text) || !URL.canParse(text)) return false
  const url = new URL(text)
  return (url.protocol === "https:" || url.protocol === "http:") && url.username + url.password === ""
}

/** Description of the texts that {@link isBaseUrl} accepts, for error messages. */
export const baseUrlAccepted = "http or https URL without credentials, query or fragment"

/** Messages of the Workers platform when a request of a Worker exceeds a limit. Every target would fail alike. */

/** Pattern of the beginning of such a message; ignores case. */
export const platformLimit =
  "^(too many subrequests|subrequest depth limit exceeded|cannot perform i/o on behalf of a different request)"

/** The parts of the `InvalidRequest` for it; its `detail` has the message. */
export const overPlatformLimit = {
  origin: "client",
  field: "request",
  accepted: "what the platform allows one request of a Worker to do"
} as const

/**
 * The order of the pages in the sidebar. A test fails when a page of `docs/` is missing here, or listed twice.
 */

/** A group of the sidebar. */
export interface Group {
  readonly title: string
  /** Files of the project, such as `docs/chat.md`. */
  readonly pages: ReadonlyArray<string>
}

/** The groups of the sidebar, in order. */
export const groups: ReadonlyArray<Group> = [
  {
    title: "Start",
    pages: [
      "docs/getting-started.md",
      "docs/chat.md",
      "docs/routes.md",
      "docs/patterns.md",
      "docs/errors.md",
      "docs/streaming.md",
      "docs/testing.md"
    ]
  },
  {
    title: "Where it runs",
    pages: [
      "docs/http-client.md",
      "docs/workers.md",
      "docs/migrating.md",
      "docs/http-server.md",
      "docs/effect-ai.md",
      "docs/sdks.md"
    ]
  },
  {
    title: "In depth",
    pages: [
      "docs/resilience.md",
      "docs/observability.md",
      "docs/batch.md",
      "docs/cluster.md",
      "docs/local-gateway.md",
      "docs/local-gateway-reference.md",
      "docs/semantics.md",
      "docs/benchmarks.md"
    ]
  },
  {
    title: "Reference",
    pages: ["docs/glossary.md", "docs/architecture.md", "docs/decisions.md", "docs/CONTRIBUTING.md", "CHANGELOG.md"]
  }
]

/** Path of a page on the site, such as `/chat.md`; `undefined` for any other file of the project. */
export const sitePath = (file: string): string | undefined => {
  if (file === "README.md") return "/index.md"
  if (file === "CHANGELOG.md") return "/changelog.md"
  return /^docs\/[^/]+\.md$/.test(file) ? file.slice("docs".length) : undefined
}

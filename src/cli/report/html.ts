/** HTML as a template that escapes its values, so that no use can forget to. */
import { plain } from "../shared/format.ts"

/** Markup. Only {@link html} and {@link raw} make it. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** Values of a template: text and numbers are escaped, markup is not, absent values are omitted. */
export type Content = string | number | Html | undefined | ReadonlyArray<Content>

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

/** Escapes text, and values of attributes in quotes. Control characters, which HTML does not allow, are replaced. */
export const escapeHtml = (text: string): string => plain(text).replace(/[&<>"']/g, (found) => entities[found] ?? "")

const write = (content: Content): string => {
  if (content === undefined) return ""
  if (typeof content === "string" || typeof content === "number") return escapeHtml(String(content))
  return content instanceof Html ? content.text : content.map(write).join("")
}

/** Template of markup. Attributes must be written in double quotes. */
export const html = (strings: TemplateStringsArray, ...values: ReadonlyArray<Content>): Html =>
  new Html(strings.reduce((text, string, index) => text + write(values[index - 1]) + string))

/** Markup from the source of this program, never from data. */
export const raw = (text: string): Html => new Html(text)

/** A column of a table. */
export interface Column {
  readonly name: string
  /** Whether figures are aligned to the right. */
  readonly numeric?: boolean
}

/** A table, whose first column names its rows. Long tables can be folded. */
export const table = (
  caption: Content,
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<Content>>
): Html => {
  const cell = (content: Content, at: number): Html => {
    const numeric = columns[at]?.numeric === true ? raw(' class="number"') : undefined
    return at === 0 ? html`<th scope="row"${numeric}>${content}</th>` : html`<td${numeric}>${content}</td>`
  }
  const heads = columns.map(
    ({ name, numeric }) => html`<th scope="col"${numeric === true ? raw(' class="number"') : undefined}>${name}</th>`
  )
  return html`<div class="scroll"><table>
<caption>${caption}</caption>
<thead><tr>${heads}</tr></thead>
<tbody>
${rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`)}</tbody>
</table></div>`
}

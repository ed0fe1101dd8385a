/**
 * Reads the part of Mermaid's flow charts that routes are drawn with, and refuses everything else.
 */

export interface Chart {
  /** Text of each node, with its lines, by id. */
  readonly nodes: ReadonlyMap<string, ReadonlyArray<string>>
  readonly arrows: ReadonlyArray<{ readonly from: string; readonly to: string; readonly kind: string }>
  /** Boxes around each node, the outer-most first. */
  readonly boxes: ReadonlyMap<string, ReadonlyArray<string>>
  readonly comments: ReadonlyArray<string>
}

const node = /^(\w+)(\(\[|\[|\{)"([^"]*)"(\]\)|\]|\})$/
const box = /^subgraph (\w+)\["([^"]*)"\]$/
const arrow = /^(\w+) (-->|-\.->|-- yes -->|-- no -->) (\w+)$/
const closing = new Map([
  ["([", "])"],
  ["[", "]"],
  ["{", "}"]
])

const textOf = (label: string): ReadonlyArray<string> =>
  label.split("<br/>").map((line) => {
    // Whatever would end the label, style it, or configure the chart is there by number.
    if (/[<>`%]|#(?!\d+;)|&/.test(line)) throw new Error(`not escaped: ${line}`)
    return line.replace(/#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
  })

/** Parses a chart. Throws on a line that it does not know, and on an arrow to or from a node that is not declared. */
export const parse = (text: string): Chart => {
  const [head, ...lines] = text.split(/\r\n|[\n\r\u2028\u2029]/)
  if (head !== "flowchart TD") throw new Error(`unknown kind of chart: ${head}`)
  const nodes = new Map<string, ReadonlyArray<string>>()
  const boxes = new Map<string, ReadonlyArray<string>>()
  const arrows: Array<Chart["arrows"][number]> = []
  const comments: Array<string> = []
  const open: Array<string> = []
  const ids = new Set<string>()
  const declare = (id: string): void => {
    if (ids.has(id)) throw new Error(`declared twice: ${id}`)
    ids.add(id)
  }
  for (const line of lines) {
    const trimmed = line.trim()
    const [, id = "", opening = "", label = "", end] = node.exec(trimmed) ?? []
    const [, boxId = "", title = ""] = box.exec(trimmed) ?? []
    const [, from = "", kind = "", to = ""] = arrow.exec(trimmed) ?? []
    if (trimmed.startsWith("%% ")) comments.push(trimmed.slice(3))
    else if (id !== "" && closing.get(opening) === end) {
      declare(id)
      nodes.set(id, textOf(label))
      boxes.set(id, [...open])
    } else if (boxId !== "") {
      declare(boxId)
      open.push(textOf(title).join("\n"))
    } else if (trimmed === "end") {
      if (open.pop() === undefined) throw new Error("an end without a subgraph")
    } else if (from !== "") {
      // An arrow draws both of its ends into the box that it is in.
      if (open.length > 0) throw new Error(`an arrow inside a subgraph: ${trimmed}`)
      arrows.push({ from, to, kind })
    } else throw new Error(`unknown line: ${line}`)
  }
  if (open.length > 0) throw new Error("a subgraph without an end")
  for (const { from, to } of arrows) {
    for (const end of [from, to]) if (!nodes.has(end)) throw new Error(`not declared: ${end}`)
  }
  return { nodes, arrows, boxes, comments }
}

/** The style of the report: self-contained, light or dark like the reader's system, fit for paper. */
export const style = `
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f5f7fa; --ink: #1a1f26; --muted: #56616e; --rule: #d8dee6;
  --c1: #2563c9; --c2: #c8372d; --c3: #a86a0c; --c4: #6b4fc0; --good: #1d7a4f; --shade: #a86a0c22 }
@media (prefers-color-scheme: dark) { :root { --paper: #11151b; --panel: #1a2029; --ink: #e6eaf0; --muted: #9aa6b4; --rule: #2d3642;
  --c1: #6ea8fe; --c2: #ff8a80; --c3: #f0c060; --c4: #b8a2ff; --good: #5fd39a; --shade: #f0c06022 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 880px; margin: 0 auto; padding: 32px 20px 64px }
h1 { margin: 0 0 4px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere }
h2 { margin: 40px 0 10px; font-size: 18px }
p { margin: 6px 0; color: var(--muted) }
.state { display: inline-block; padding: 1px 10px; border-radius: 99px; border: 1px solid currentColor; font-weight: 600; font-size: 13px }
.state.good { color: var(--good) } .state.bad { color: var(--c2) } .state.warn { color: var(--c3) }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 10px; margin: 22px 0 0; padding: 0 }
.tiles div { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px }
.tiles dt { color: var(--muted); font-size: 13px }
.tiles dd { margin: 0; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums }
.tiles dd small { display: block; font-size: 13px; font-weight: 400; color: var(--muted) }
.scroll { overflow-x: auto }
figure { margin: 0; padding: 14px 14px 10px; background: var(--panel); border: 1px solid var(--rule); border-radius: 8px }
figure svg[role] { display: block; width: 100%; min-width: 560px; height: auto }
figcaption { color: var(--muted); font-size: 13px; margin: 0 0 6px }
.grid { stroke: var(--rule); stroke-width: 1 }
.tick { fill: var(--muted); font-size: 12px } .name { fill: var(--ink); font-size: 13px }
.end { text-anchor: end } .middle { text-anchor: middle }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .dashed { stroke-dasharray: 6 4 }
.shade { fill: var(--shade) }
.area.c1 { fill: var(--c1) } .area.c2 { fill: var(--c2) } .area.c3 { fill: var(--c3) } .area.c4 { fill: var(--c4) }
.dot.c1 { fill: var(--c1) } .dot.c2 { fill: var(--c2) } .dot.c3 { fill: var(--c3) } .dot.c4 { fill: var(--c4) }
.line.c1 { stroke: var(--c1) } .line.c2 { stroke: var(--c2) } .line.c3 { stroke: var(--c3) } .line.c4 { stroke: var(--c4) }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 0; padding: 0; list-style: none; font-size: 13px }
.key { width: 22px; height: 10px } .note { color: var(--muted) }
table { border-collapse: collapse; width: 100%; font-size: 14px }
caption { text-align: left; color: var(--muted); font-size: 13px; padding: 0 0 6px }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top; border-top: 1px solid var(--rule); overflow-wrap: anywhere }
thead th { border-top: 0; color: var(--muted); font-weight: 600; font-size: 13px; white-space: nowrap }
tbody th { font-weight: 400 }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; padding: 5px 0 5px 14px }
details { margin: 10px 0 0; font-size: 13px } summary { cursor: pointer; color: var(--muted) }
footer { margin-top: 48px; color: var(--muted); font-size: 13px }
@media print { main { max-width: none; padding: 0 } figure, .tiles div, tr { break-inside: avoid } }
`

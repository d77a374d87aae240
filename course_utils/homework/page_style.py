"""What the homework's pages add to the look of the course: tables that scroll, verdicts, dark screens and paper."""

from __future__ import annotations

HOMEWORK_CSS = """
:root { color-scheme: light dark; --line: #d0d7de; --quiet: #57606a; --soft: #f6f8fa; --good: #116329; --bad: #a40e26; }
body { max-width: 62rem; }
h2 { border-top: 1px solid var(--line); padding-top: 1.4rem; }
p, li, dd { max-width: 44rem; }
.note { border-left: 4px solid #b35900; background: var(--soft); padding: 0.5rem 1rem; margin: 1rem 0; max-width: 44rem; }
.note code { white-space: nowrap; }
.quiet { color: var(--quiet); font-size: 0.92rem; font-weight: normal; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; }
dl.facts dt { color: var(--quiet); } dl.facts dd { margin: 0; }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
.scroll table { display: table; margin: 0; max-width: none; }
th, td { text-align: left; vertical-align: top; } th { font-weight: 600; } tbody th { background: none; }
tbody th { min-width: 6.5rem; } td { min-width: 4.5rem; } td ul.points { margin: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
blockquote.text { border-left-color: var(--line); background: var(--soft); margin: 0.6rem 0; max-width: 46rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .good, .bad { font-weight: 600; }
ul.points { list-style: none; padding-left: 0; } ul.points li { margin: 0.25rem 0; }
figure { margin: 1rem 0; } figure img { background: #fff; border-radius: 4px; } figcaption { color: var(--quiet); font-size: 0.92rem; }
.samples { display: flex; flex-wrap: wrap; gap: 1rem; } .samples figure { flex: 1 1 28rem; max-width: 44rem; margin: 0; }
.samples img { width: 100%; }
@media (max-width: 30rem) {
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: 0.5rem; }
  th, td { padding: 0.3rem 0.45rem; } .chart img { max-width: none; width: 40rem; }
}
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --quiet: #9198a1; --soft: #1c2128; --good: #56d364; --bad: #ff7b72; }
  body { background: #0d1117; color: #e6edf3; } a { color: #79c0ff; } th { background: #1c2128; } tbody th { background: none; }
  th, td { border-color: #3d444d; } code { background: #1c2128; } .note { border-left-color: #d29922; } details { border-color: #3d444d; }
}
@media print {
  @page { margin: 18mm 15mm; }
  :root { color-scheme: light; --line: #d0d7de; --quiet: #57606a; --soft: #f6f8fa; --good: #116329; --bad: #a40e26; }
  body { max-width: none; padding: 0; background: #fff; color: #000; font-size: 10.5pt; }
  .scroll { overflow: visible; } th { background: none; } th, td { border-color: #d0d7de; padding: 0.15rem 0.4rem; }
  figure, table, .note, blockquote { break-inside: avoid; } h2, h3 { break-after: avoid; } a { color: inherit; }
}
"""

"""A few helpers that write HTML: whatever comes from a model, a file or a user is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Markup", "card", "code_block", "definitions", "join", "page", "paragraph", "table"]


class Markup(str):
    """Text that is HTML already; every other string is escaped."""

    __slots__ = ()


_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #ffffff;
  --tint: #f4f6f8; --line: #d5dae0; --accent: #2a6fb5; --good: #1a7f4b; --bad: #c0362c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #0f1419;
  --tint: #182029; --line: #2e3842; --accent: #6db1f0; --good: #56c98c; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .7rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; } .soft { color: var(--soft); }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: .875em; overflow-wrap: anywhere; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { padding: .32rem .65rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: normal; color: var(--soft); vertical-align: bottom; }
.compact table { font-size: .82rem; }
.compact th, .compact td { padding: .25rem .42rem; }
.compact td:first-child { white-space: normal; overflow-wrap: anywhere; }
th.text, td.text { text-align: left; } tr.chosen td { background: var(--tint); font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.4rem 0; }
.card { background: var(--tint); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem 1rem; }
.card b { display: block; font-size: 1.55rem; line-height: 1.3; color: var(--accent); }
.card span { color: var(--soft); font-size: .85rem; display: block; line-height: 1.35; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .25rem 1.2rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr));
  gap: 1.4rem; } figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; }
figure.wide { max-width: 60rem; } section.bundle { border-top: 3px solid var(--accent);
  margin-top: 3rem; padding-top: 1.2rem; } a { color: var(--accent); }
figcaption { font-size: .875rem; color: var(--soft); line-height: 1.4; }
"""
# Nothing is fetched: the page stands by itself, and text that slips through cannot run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def _text(value: str) -> str:
    return value if isinstance(value, Markup) else escape(value, quote=True)


def join(parts: Iterable[str]) -> Markup:
    """Parts one after another."""
    return Markup("\n".join(_text(part) for part in parts))


def paragraph(text: str, soft: bool = False) -> Markup:
    """A paragraph."""
    return Markup(f'<p class="soft">{_text(text)}</p>' if soft else f"<p>{_text(text)}</p>")


def code_block(text: str) -> Markup:
    """Text as it stands."""
    return Markup(f"<pre>{_text(text)}</pre>")


def card(value: str, label: str) -> Markup:
    """A figure and what it is."""
    return Markup(f'<div class="card"><b>{_text(value)}</b><span>{_text(label)}</span></div>')


def definitions(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Names and values."""
    rows = (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in pairs)
    return Markup("<dl>\n" + "\n".join(rows) + "\n</dl>")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    text_columns: int = 1,
    chosen: int | None = None,
) -> Markup:
    """A table; the first ``text_columns`` columns are text, the row ``chosen`` stands out."""

    def cells(kind: str, line: Sequence[str]) -> str:
        out = []
        for column, value in enumerate(line):
            mark = ' class="text"' if column < text_columns else ""
            out.append(f"<{kind}{mark}>{_text(value)}</{kind}>")
        return "".join(out)

    lines = []
    for number, line in enumerate(rows):
        mark = ' class="chosen"' if number == chosen else ""
        lines.append(f"<tr{mark}>{cells('td', line)}</tr>")
    body = "\n".join(lines)
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    return Markup(
        f'<div class="scroll"><table>{title}<thead><tr>{cells("th", head)}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def page(title: str, body: Markup) -> str:
    """A whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )

"""Pages that the API serves itself: plain HTML with one style sheet inside, no script, nothing from elsewhere.

Their content security policy names the hash of that sheet and allows nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#55606e;--line:#d5dbe3;--back:#fff;--panel:#f5f7fa;--link:#0b57a4}
@media (prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#aab4c0;--line:#39424e;--back:#12161b;--panel:#1a2027;
--link:#8cc2ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:62rem;background:var(--back);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0 1rem}h2{font-size:1.25rem;margin:2.2rem 0 .6rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
a{color:var(--link)}a:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
code,pre{font:.9em/1.5 ui-monospace,monospace}
pre{padding:1rem;overflow-x:auto;background:var(--panel);border:1px solid var(--line);border-radius:.4rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600}
.soft{color:var(--soft)}.verb{display:inline-block;min-width:4.2rem;font-weight:700}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;background:var(--panel)}
summary{padding:.55rem .8rem;cursor:pointer;overflow-wrap:anywhere}details>div{padding:0 .8rem .8rem}
nav ul{columns:16rem;padding-left:1.1rem}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def html_page(title: str, body: Iterable[str]) -> HTMLResponse:
    """Return a page; ``title`` is plain text, ``body`` is HTML whose every text was escaped."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Guardhouse</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</main></body>\n</html>\n"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells that are HTML already; it scrolls where the window is narrow."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'

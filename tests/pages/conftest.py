"""Reading the pages: their commands and their blocks of Python."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    path.name: path
    for path in (
        ROOT / 'README.md',
        ROOT / 'CONTRIBUTING.md',
        *sorted((ROOT / 'docs').glob('*.md')),
    )
}
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.S | re.M)


def blocks(page, language):
    """The text of every fenced block of a language."""
    return [
        text
        for kind, text in FENCE.findall(PAGES[page].read_text())
        if kind == language
    ]


def commands(page):
    """Commands in fenced and indented blocks, one line each, without comments."""
    text = PAGES[page].read_text().replace('\\\n', ' ')
    for line in text.splitlines():
        found = re.match(r'\s*((?:[A-Z_]+=\S+ )*(?:python|make|tools/\S+) .*)', line)
        if found:
            yield re.sub(r'\s+', ' ', re.sub(r'\s#\s.*', '', found.group(1))).strip()

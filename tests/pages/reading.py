"""What a page asks its reader to run: commands, options and Python blocks."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.name: path
    for path in (
        ROOT / 'README.md',
        ROOT / 'CONTRIBUTING.md',
        *sorted((ROOT / 'docs').glob('*.md')),
    )
}
# Assignments of the environment, then a program; or options of the command above.
COMMAND = re.compile(
    r'(?:[A-Z_]+=\S+ )*(?:nice -n -?\d+ )?'
    r'(?:(?:python|make|pip|torchrun|mim|tools/\S+) [^=\s]|--cfg-options )'
    r'|make (study|test|lint|docs)$|\w+=\$\('
)
ASSIGNMENT = re.compile(r'\w+ = ')
# Fences that show output or folders. Those of the pages' own machinery are in braces.
SHOWN = ('text', '')


@dataclass(frozen=True)
class Piece:
    """A command (one line, without its comment) or a block of a page."""

    page: str
    line: int
    kind: str  # 'shell', 'python' or 'diff'
    text: str


def pieces(page: str) -> list[Piece]:
    """Everything to run on a page, in its order, equal pieces once."""
    unique: dict[tuple[str, str], Piece] = {}
    found = [*_blocks(page), *_inline(page)]
    for piece in sorted(found, key=lambda piece: piece.line):
        unique.setdefault((piece.kind, piece.text), piece)
    return list(unique.values())


def _blocks(page: str) -> Iterator[Piece]:
    fence: str | None = None
    inside: list[str] = []
    start, continued = 0, ''
    for number, line in enumerate(PAGES[page].read_text().splitlines(), 1):
        mark = re.match(r'\s*```+(.*)', line)
        if mark and fence is None:
            fence, inside, start = mark.group(1).strip(), [], number
        elif mark:
            assert fence is not None
            if fence in ('python', 'diff'):
                text = textwrap.dedent('\n'.join(inside)) + '\n'
                yield Piece(page, start, fence, text)
            elif fence != 'bash' and fence not in SHOWN and not fence.startswith('{'):
                raise ValueError(f'{page}:{start}: a fence of {fence!r}')
            fence = None
        elif fence is not None and fence != 'bash':
            inside.append(line)
        elif fence == 'bash' or line.startswith('    '):
            text = f'{continued} {line.strip()}'.strip()
            continued = text[:-1].strip() if text.endswith('\\') else ''
            if continued:
                continue
            text = _one_line(re.sub(r'\s#\s.*', '', text))
            if COMMAND.match(text):
                yield Piece(page, number, 'shell', text)
            elif fence == 'bash' and text:
                raise ValueError(f'{page}:{number}: is {text!r} a command?')
            elif ASSIGNMENT.match(text):
                yield Piece(page, number, 'python', text)


def _inline(page: str) -> Iterator[Piece]:
    """Commands in the running text; with ``...`` they are not meant to be typed."""

    def empty(found: re.Match) -> str:
        return '\n' * found[0].count('\n')  # the numbers of other lines stay

    text = PAGES[page].read_text()
    text = re.sub(r'^\s*```(?!\{).*?^\s*```$', empty, text, flags=re.S | re.M)
    text = re.sub(r'^(\s*```.*|    .*)$', '', text, flags=re.M)
    for found in re.finditer(r'`([^`]+)`', text):
        command = _one_line(found.group(1))
        if COMMAND.match(command) and '...' not in command:
            yield Piece(page, text.count('\n', 0, found.start()) + 1, 'shell', command)


def _one_line(text: str) -> str:
    return re.sub(r'\s+', ' ', text).strip()

"""Commands on the pages use tools and options that exist; links lead somewhere."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'docs').glob('*.md')),
]
PLACEHOLDER = re.compile(r'[A-Z]{3,}|[<>{}$*]|\.\.\.')


def commands():
    """(page, command) for every call of a tool in a fenced or indented block."""
    for page in PAGES:
        text = page.read_text().replace('\\\n', ' ')
        for line in text.splitlines():
            found = re.match(
                r'\s*(?:\$ )?(?:\w+=\S+ )*python (tools/\S+\.py)(.*)', line
            )
            if found:
                arguments = found.group(2).split(' #')[0].rstrip('|&> ')
                yield page.name, found.group(1), arguments


@cache
def help_of(tool):
    """What ``tool --help`` prints, sub-commands included."""
    import contextlib
    import io

    spec = importlib.util.spec_from_file_location(
        f'page_{Path(tool).stem}', ROOT / tool
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    texts = []
    for arguments in (['--help'], *([name, '--help'] for name in subcommands(tool))):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
            module.main(arguments)
        assert end.value.code == 0, arguments
        texts.append(out.getvalue())
    return '\n'.join(texts)


def subcommands(tool):
    if not tool.endswith('benchmark.py'):
        return []
    transfer = ['pretrain-step', 'transfer-step', 'evaluation', 'throughput']
    return ['pooling', 'encoders', *transfer]


COMMANDS = [
    command
    for command in commands()
    if 'setup_env' not in command[1] and 'NAME' not in command[1]
]


@pytest.mark.parametrize(
    ('page', 'tool', 'arguments'), COMMANDS, ids=[f'{p}:{t}' for p, t, _ in COMMANDS]
)
def test_commands_of_the_pages_exist(page, tool, arguments):
    assert (ROOT / tool).is_file(), f'{page}: {tool}'
    for word in shlex.split(arguments):
        if word.startswith('--'):
            option = word.split('=')[0]
            assert option in help_of(tool), f'{page}: {tool} has no {option}'
        elif word.startswith('configs/') and not PLACEHOLDER.search(word):
            assert (ROOT / word).is_file(), f'{page}: {word}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if re.match(r'[a-z]+:', target) or target.startswith('#'):
            continue
        assert (page.parent / target.split('#')[0]).exists(), f'{page.name}: {target}'


def test_pages_hold_commands_to_check():
    assert len(COMMANDS) > 30
    assert {page for page, _, _ in COMMANDS} >= {
        'README.md',
        'convert.md',
        'analyses.md',
    }

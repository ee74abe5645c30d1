"""Commands of the pages have options that exist; links lead somewhere."""

import argparse
import re
import runpy
import shlex

import pytest

from mmgcp.study.config import load_study

from .conftest import PAGES, ROOT, commands

pytestmark = pytest.mark.once
PLACEHOLDER = re.compile(r'[A-Z]{3,}|[<>{}$*]|\.\.\.')
SEGMENTATION = PAGES['segmentation.md'].read_text()
#: (page, tool, arguments) of every call of a tool.
CALLS = [
    (page, found.group(1), found.group(2))
    for page in PAGES
    for command in commands(page)
    for found in [re.match(r'(?:\w+=\S+ )*python (tools/\S+\.py)(.*)', command)]
    if found and 'NAME' not in found.group(1)
]


class Parsed(Exception):
    """A command line has been understood."""


@pytest.fixture
def stop_after_parsing(monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)


@pytest.mark.parametrize(
    ('page', 'tool', 'arguments'), CALLS, ids=[f'{p}:{t}{a}' for p, t, a in CALLS]
)
def test_a_command_is_understood(page, tool, arguments, stop_after_parsing):
    words = shlex.split(arguments.split('|')[0].split(' > ')[0].replace('...', ''))
    main = runpy.run_path(str(ROOT / tool))['main']
    with pytest.raises(Parsed):
        main(words)
    for word in words:
        if word.startswith('configs/') and not PLACEHOLDER.search(word):
            assert (ROOT / word).is_file(), f'{page}: {word}'


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', PAGES[page].read_text()):
        if re.match(r'[a-z]+:', target) or target.startswith('#'):
            continue
        path = PAGES[page].parent / target.split('#')[0]
        assert path.exists(), f'{page}: {target}'


def test_commands_are_found():
    assert len(CALLS) > 30
    assert {page for page, _, _ in CALLS} >= {'README.md', 'convert.md', 'analyses.md'}


def test_what_pip_is_told_to_install_is_there():
    for page, path in PAGES.items():
        for target in re.findall(r'pip install (?:-e )?(\.\S*)', path.read_text()):
            assert (ROOT / target / 'pyproject.toml').is_file(), f'{page}: {target}'


def test_the_files_of_the_study_are_on_the_page_of_conversion():
    study = load_study(ROOT / 'configs/studies/imagenet_coco_ade20k.py')
    sources = [e['source'] for e in study['encoders'].values() if 'source' in e]
    assert sources
    page = PAGES['convert.md'].read_text()
    assert all(f'`{source}`' in page for source in sources)


def test_epochs_of_ade20k():
    shown = re.findall(r'([\d,]+) (?:epochs of all|of 10 %|of 1 %)', SEGMENTATION)
    epochs = [160_000 * 16 / images for images in (20_210, 2_021, 202)]
    assert [int(each.replace(',', '')) for each in shown] == pytest.approx(epochs, 0.01)

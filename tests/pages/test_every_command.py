"""The commands and the Python of every page run, in a checkout with tiny data."""

import re
import shlex
from pathlib import Path

import pytest

from .checkout import as_text, make_checkout, shortened
from .directions import BEFORE, BLOCKS, CHANGES, LEFT_OUT
from .material import FILES, Store
from .reading import PAGES, Piece, pieces
from .running import Forks, Shell

pytestmark = pytest.mark.once
CONFIG = r'configs/(?:pretrain|detection|segmentation)/[\w.-]+\.py'
PLACEHOLDER = r'\b(?:CONFIG|CHECKPOINT|NAME|DIR|SRC|FILE|HOST|KEY|VALUE)\b|\.\.\.'
WITH_PIECES = [page for page in PAGES if pieces(page)]


@pytest.fixture(scope='session')
def forks():
    for module in (
        'sklearn',
        'mmcv.ops',
        'mmpretrain',
        'mmdet',
        'mmseg',
        'onnxruntime',
    ):
        pytest.importorskip(module)
    return Forks()


@pytest.fixture(scope='session')
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp('store'))


def directed(piece: Piece) -> str:
    """The command that is run in the place of one on a page."""
    text = piece.text
    for pattern, replacement in [*CHANGES.get(piece.page, ()), *CHANGES['*']]:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize('page', WITH_PIECES)
def test_every_command_of_the_page_runs(page, forks, store, tmp_path, monkeypatch):
    monkeypatch.delenv('MMGCP_SCENES', raising=False)
    folder = tmp_path / 'checkout'
    chosen = [piece for piece in pieces(page) if piece.text not in LEFT_OUT]
    texts = [directed(piece) for piece in chosen if piece.kind == 'shell']
    texts += [piece.text for piece in chosen if piece.kind != 'shell']
    texts += [BEFORE.get(page, ''), *(after for _, after in BLOCKS.get(page, ()))]
    make_checkout(folder, set(re.findall(CONFIG, '\n'.join(texts))))
    for name, make in FILES.get(page, {}).items():
        store.put(make, folder / name)
    shell = Shell(forks, folder)
    if page in BEFORE:
        shell.python(BEFORE[page])
    blocks = iter(BLOCKS.get(page, ()))
    for piece in chosen:
        if piece.kind == 'shell':
            command = directed(piece)
            shell.run(command)
            for path in written_by(command):
                assert list(folder.glob(path)), f'{command}\nwrote no {path}'
        elif piece.kind == 'diff':
            write_changed_config(piece.text, folder)
        else:
            given, after = next(blocks)
            text = '' if write_files(piece.text, folder) else piece.text
            shell.python(text, after, **given, page_text=piece.text)
    assert not list(blocks), 'more directions than blocks'


def write_files(text: str, folder: Path) -> bool:
    """Write the files of a block whose parts begin with ``# folder/name.py``."""
    parts = re.split(r'^# (\S+/\S+\.py)\n', text, flags=re.M)
    for name, content in zip(parts[1::2], parts[2::2], strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return len(parts) > 1


def write_changed_config(diff: str, folder: Path) -> None:
    """``my_config.py``: mmdet's own Mask R-CNN, short, with the diff of the page."""
    from zoo import framework_config

    base = shortened(framework_config('mmdet', 'mask-rcnn_r50_fpn_1x_coco'), 12)
    (folder / 'base.py').write_text(as_text(base))
    kept = [line[1:] for line in diff.splitlines() if line[0] in ' +']
    text = '\n'.join(line for line in kept if line.strip() != '...')
    # As the page says of configs that inherit.
    text = text.replace('init_cfg=dict(', 'init_cfg=dict(_delete_=True, ')
    (folder / 'my_config.py').write_text(f"_base_ = 'base.py'\n{text})\n")


def written_by(command: str) -> list[str]:
    """What a command is asked to write, as patterns in the checkout."""
    words = shlex.split(command)
    tool = next((Path(word).stem for word in words if '/tools/' in f'/{word}'), '')
    found = [
        words[words.index(option) + 1]
        for option in ('--out', '--work-dir')
        if option in words
    ]
    if tool == 'convert_checkpoint':
        found.append(words[3])
    elif tool == 'publish_checkpoint':
        found.append(words[3].replace('.pth', '-????????.pth'))
    elif tool == 'export_onnx':
        found.append(words[4])
    return found


@pytest.mark.parametrize('page', WITH_PIECES)
def test_placeholders_of_the_page_are_filled(page):
    for piece in pieces(page):
        if piece.kind == 'shell' and piece.text not in LEFT_OUT:
            left = re.findall(PLACEHOLDER, directed(piece))
            assert not left, f'{page}:{piece.line}: {directed(piece)}'


def test_every_direction_is_used():
    texts = {piece.text for page in PAGES for piece in pieces(page)}
    assert LEFT_OUT.keys() <= texts, LEFT_OUT.keys() - texts
    assert FILES.keys() | BLOCKS.keys() | BEFORE.keys() <= set(WITH_PIECES)
    for page, changes in CHANGES.items():
        of_page = WITH_PIECES if page == '*' else [page]
        for pattern, _ in changes:
            found = [
                directed_until(piece, pattern) for p in of_page for piece in pieces(p)
            ]
            assert any(found), f'{page}: {pattern}'


def directed_until(piece: Piece, pattern: str) -> bool:
    """Whether a pattern finds something in a command when its turn comes."""
    text = piece.text
    for earlier, replacement in [*CHANGES.get(piece.page, ()), *CHANGES['*']]:
        if earlier == pattern:
            return re.search(pattern, text) is not None
        text = re.sub(earlier, replacement, text)
    return False

"""What pyproject.toml cannot say: the ``.mim`` folder.

``mim train mmgcp CONFIG`` and the frameworks' tools look for ``configs``, ``tools`` and
``model-index.yml`` in ``mmgcp/.mim``. A wheel gets copies, an editable installation gets
links into the checkout, but none to ``configs``: mim searches the whole checkout for the
name of a config, follows links, and refuses a name that it finds twice.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CONTENT = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """``build_py`` is the one step that wheels and editable installations share."""

    def run(self):
        super().run()
        if self.editable_mode:
            self.link(ROOT / 'mmgcp' / '.mim')
        else:
            self.copy(Path(self.build_lib) / 'mmgcp' / '.mim')

    def link(self, mim):
        mim.mkdir(exist_ok=True)
        for name in CONTENT:
            target = mim / name
            if target.is_symlink():
                target.unlink()
            if name == 'configs':
                continue
            target.symlink_to(os.path.relpath(ROOT / name, mim))

    def copy(self, mim):
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
        for name in CONTENT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, mim / name, ignore=ignore)
            else:
                shutil.copy2(source, mim / name)


setup(cmdclass={'build_py': BuildWithMim})

"""Sphinx configuration: ``make docs``, warnings are errors."""

import importlib.metadata

project = 'mmgcp'
author = 'the mmgcp contributors'
release = importlib.metadata.version('mmgcp')
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
]
myst_enable_extensions = ['dollarmath', 'colon_fence']
myst_heading_anchors = 3
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = 'mmgcp'
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
nitpicky = False

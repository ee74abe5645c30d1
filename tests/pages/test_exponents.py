"""The table of the page on normalizations is that of the record."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

pytestmark = pytest.mark.once
DOCS = Path(__file__).parents[2] / 'docs'


def test_the_table_has_the_recorded_values():
    record = json.loads((DOCS / 'results/exponents.json').read_text())
    test, train = (
        record['values'][task]['accuracy/top1']['encoders']
        for task in ('pretrain', 'train')
    )
    page = (DOCS / 'exponents.md').read_text()
    rows = re.findall(r'(?m)^\| (\D.*?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|', page)
    found = {label: list(map(float, values)) for label, *values in rows}
    assert list(found) == list(record['study']['encoders'].values())
    for name, label in record['study']['encoders'].items():
        means = [fmean(values[name].values()) for values in (test, train)]
        assert found[label] == pytest.approx([*means, means[1] - means[0]], abs=0.006)

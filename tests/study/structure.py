"""What a report consists of, whatever its values are.

``python tests/study/structure.py REPORT.json > tests/study/report_structure.json`` stores
that of the mini-study of ``test_study.py``, with which both stacks are compared.
"""

import json
import sys
from pathlib import Path

STORED = Path(__file__).with_name('report_structure.json')


def structure(node, key: str = ''):
    """Keys and kinds of values; items of a list of one kind count once."""
    if isinstance(node, dict):
        if key == 'inputs':
            # By path; where the folders are is no part of the structure.
            return {'*': structure(next(iter(node.values()), None))}
        return {name: structure(node[name], name) for name in sorted(node)}
    if isinstance(node, list):
        kinds = [structure(item) for item in node]
        return [kind for n, kind in enumerate(kinds) if kind not in kinds[:n]]
    if isinstance(node, bool) or node is None:
        return type(node).__name__
    return 'number' if isinstance(node, int | float) else type(node).__name__


if __name__ == '__main__':
    report = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(structure(report), indent=1))

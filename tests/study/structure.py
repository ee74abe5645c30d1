"""What a report consists of, whatever its values are.

``python tests/study/structure.py REPORT.json > tests/study/report_structure.txt`` stores
that of the small study of ``test_study.py``, with which both stacks are compared.
"""

import json
import sys
from pathlib import Path

STORED = Path(__file__).with_name('report_structure.txt')


def structure(node, name=''):
    """Lines ``key.key[]: kind``, sorted; items of a list count once."""
    if isinstance(node, dict):
        # Inputs are listed by path; where the folders are is no part of the structure.
        anywhere = name.endswith('.inputs')
        parts = {'*' if anywhere else key: value for key, value in node.items()}
        found = [structure(value, f'{name}.{key}') for key, value in parts.items()]
    elif isinstance(node, list) and node:
        found = [structure(value, f'{name}[]') for value in node]
    else:
        number = isinstance(node, int | float) and not isinstance(node, bool)
        found = [[f'{name[1:]}: {"number" if number else type(node).__name__}']]
    return sorted({line for lines in found for line in lines})


if __name__ == '__main__':
    print('\n'.join(structure(json.loads(Path(sys.argv[1]).read_text()))))

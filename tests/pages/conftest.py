"""The helpers of the tests of configs, which shorten them, are used here too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / 'configs'))

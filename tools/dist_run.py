#!/usr/bin/env python
"""torchrun, but an interrupt is one line; dist_train.sh and dist_test.sh start it."""

import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

if __name__ == '__main__':
    logging.disable(logging.WARNING)  # of how it ends its processes
    try:
        main()
    except (SignalException, KeyboardInterrupt) as error:
        number = getattr(error, 'sigval', signal.SIGINT)
        name = os.path.basename(os.environ['MMGCP_COMMAND'].split()[0])
        print(
            f'{name}: interrupted. Go on with: {os.environ["MMGCP_COMMAND"]}',
            file=sys.stderr,
        )
        sys.exit(128 + number)

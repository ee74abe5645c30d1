"""Ctrl-C that cannot be lost.

Python raises ``KeyboardInterrupt`` wherever the program happens to be. A destructor, a
weak reference's callback (each import has one) or a ``try: import x / except: pass`` of
some library swallows it, and the command works on as if nobody had pressed a key.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from .errors import chain

LOOK_AFTER = 0.5  # seconds


@contextlib.contextmanager
def insist_on_interrupts(look_after: float = LOOK_AFTER) -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` again when a library has swallowed it.

    As long as the program is on its way out, in ``finally`` and ``except`` blocks of the
    interruption, it is left in peace. Nothing is changed outside the main thread, or
    where somebody else handles the signal already.

    Args:
        look_after: Seconds between a look whether it is on its way out, and the next.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    process, main_thread = os.getpid(), threading.get_ident()
    timer: threading.Timer | None = None
    looking = False

    def handle(number, frame):
        nonlocal looking
        only_looking, looking = looking, False
        if os.getpid() == process:  # a forked worker has no such thread
            look_later()
        if not (only_looking and _on_its_way_out()):
            raise KeyboardInterrupt

    def look_later():
        nonlocal timer
        timer = threading.Timer(look_after, look)
        timer.daemon = True
        timer.start()

    def look():
        nonlocal looking
        looking = True
        signal.pthread_kill(main_thread, signal.SIGINT)

    report = sys.unraisablehook

    def report_others(unraisable):
        if unraisable.exc_type is not KeyboardInterrupt:
            report(unraisable)

    sys.unraisablehook = report_others
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = report
        if timer is not None:
            timer.cancel()


def _on_its_way_out() -> bool:
    """Whether the main thread is inside a block that an interruption opened."""
    return is_interruption(sys.exc_info()[1])


def is_interruption(error: BaseException | None) -> bool:
    """Whether an error is an interruption, or one that a library made of it.

    C++ code that calls Python, such as a backward pass, keeps its text only.
    """
    return any(
        isinstance(link, KeyboardInterrupt) or str(link).startswith('KeyboardInterrupt')
        for link in chain(error)
    )

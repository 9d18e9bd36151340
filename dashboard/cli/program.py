"""One command, from its words to its exit status."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from dashboard.cli.output import STOPPED, let_go, write_line
from dashboard.cli.parser import parser
from dashboard.logs import log_to_stderr
from dashboard.refusals import Refusal

logger = logging.getLogger(__name__)


class Interruption:
    """Whether Ctrl C was pressed while this was in force.

    The exception that it raises may come out as another: torch's C code, for one, makes of it that
    a tensor has no shape.
    """

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> Interruption:
        self._before = signal.getsignal(signal.SIGINT)
        if self._is_ours():
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours():
            signal.signal(signal.SIGINT, self._before)

    def _is_ours(self) -> bool:
        """Whether Python itself would raise it, in the one thread that may say otherwise."""
        main = threading.current_thread() is threading.main_thread()
        return main and self._before is signal.default_int_handler

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know α or ×
    arguments = parser().parse_args(argv)
    with Interruption() as interruption:
        try:
            log_to_stderr(arguments.log_level)
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # as after ``| head``
            let_go(sys.stdout)
            return 128 + signal.SIGPIPE
        except (Exception, KeyboardInterrupt) as error:
            if interruption.came or isinstance(error, KeyboardInterrupt):
                logger.debug("interrupted", exc_info=error)
                write_line("stopped")
                return STOPPED
            if not isinstance(error, (Refusal, OSError)):
                raise
            logger.debug("refused", exc_info=error)
            write_line(" ".join(str(error).split()))
            return 2

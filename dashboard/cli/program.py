"""One command, from its words to its exit status."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Sequence

from dashboard.cli.output import STOPPED, let_go, write_line
from dashboard.cli.parser import parser
from dashboard.logs import log_to_stderr
from dashboard.refusals import Refusal

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know α or ×
    arguments = parser().parse_args(argv)
    try:
        log_to_stderr(arguments.log_level)
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as after ``| head``
        let_go(sys.stdout)
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        write_line("stopped")
        return STOPPED
    except (Refusal, OSError) as error:
        logger.debug("refused", exc_info=error)
        write_line(" ".join(str(error).split()))
        return 2

"""Where this project's programs log: to standard error, from a level that is asked for.

A module that has something to say to whoever runs it logs to a logger of its own name
(``logging.getLogger(__name__)``), and decides no more than that: used as a library, the project
configures nothing. The command line and the app call ``log_to_stderr`` when they start.

    SCALESCOPE_LOG=info python -m streamlit run app.py
    python -m dashboard analyze mamba-tiny --log-level info

``info`` has models loaded, calibrations with their times, fetches from the Hub and refusals;
``debug`` also says where in the code a refusal came from.
"""

from __future__ import annotations

import logging
import os
import sys

from dashboard.refusals import Refusal, quoted

ENVIRONMENT = "SCALESCOPE_LOG"
LEVELS = ("debug", "info", "warning", "error")
DEFAULT_LEVEL = "warning"
PACKAGES = ("dashboard", "kernels")

_HANDLER = logging.StreamHandler()
_HANDLER.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def log_to_stderr(level: str | None = None) -> None:
    """Write what ``dashboard`` and ``kernels`` log to standard error.

    Safe to call again: the last level holds, and every line is written once.

    Args:
        level: the least of ``LEVELS`` that is written; None means that of the environment variable
            SCALESCOPE_LOG, and without it "warning".

    Raises Refusal for a level that is none of them, naming where it came from.
    """
    source = "the log level" if level else ENVIRONMENT
    chosen = level or os.environ.get(ENVIRONMENT) or DEFAULT_LEVEL
    if chosen not in LEVELS:
        raise Refusal(
            "{source} is {level}; allowed are {levels}",
            source=source,
            level=quoted(chosen),
            levels=", ".join(LEVELS),
        )
    _HANDLER.stream = sys.stderr  # setStream would flush the stream before it, which may be closed
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(chosen.upper())
        logger.addHandler(_HANDLER)

"""Which names a page may look up on the server's disk.

Whoever opens a page chooses what it reads: a box takes any path, and a link fills the box. On a
server that listens on this machine alone that is its own user, to whom every path is open. Where
others can reach it, a path would let them read the server's files, or learn which there are; so
there only the samples, the texts that come with the project and the Hub's repositories are open,
and what lies inside the directories that the administrator names in ``SCALESCOPE_ROOTS``. All else
is refused with one sentence, which is the same whether there is such a file or not.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from dashboard.checkpoints import CheckpointError

ROOTS = "SCALESCOPE_ROOTS"
CLOSED = (
    "No such name is open on this server: choose a sample, a text that comes with the project or a "
    f"Hub id (owner/name), or ask its administrator to open a directory ({ROOTS})"
)


def is_loopback(address: str | None) -> bool:
    """Whether a server with this ``server.address`` can be reached from its own machine alone.

    Unset means every interface; a name other than localhost, or a socket's path, may be anything.
    """
    if not address:
        return False
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def roots(environment: Mapping[str, str]) -> list[Path] | None:
    """The directories that SCALESCOPE_ROOTS names, resolved; None where it is not set.

    Set and empty, it names none. A relative or empty entry is ignored: it would mean whatever
    directory the server was started in.
    """
    named = environment.get(ROOTS)
    if named is None:
        return None
    entries = [Path(entry) for entry in named.split(os.pathsep)]
    return [entry.resolve() for entry in entries if entry.is_absolute()]


def is_open(
    name: str, address: str | None = None, environment: Mapping[str, str] = os.environ
) -> bool:
    """Whether the server may look a path up.

    Args:
        name: what stands in a box or a link.
        address: the server's ``server.address``; None means Streamlit's own option.
        environment: may hold SCALESCOPE_ROOTS, which then decides alone.
    """
    allowed = roots(environment)
    if allowed is None:
        return is_loopback(address or st.get_option("server.address"))
    try:
        path = Path(name).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a home that nobody has, a circle of links
        return False
    return any(path.is_relative_to(root) for root in allowed)


def refusal() -> CheckpointError:
    """What a page says of every path that is not open."""
    return CheckpointError(CLOSED)

"""Which names a page may look up on the server's disk.

Whoever opens a page chooses what it reads: a box takes any path, and a link fills the box. On a
server that listens on this machine alone that is its own user, to whom every path is open. Where
others can reach it, a path would let them read the server's files, or learn which there are; so
there only the samples, the texts that come with the project and the Hub's repositories are open,
and what lies inside the directories that the administrator names in ``SCALESCOPE_ROOTS``; the Hub,
from which whatever a visitor names is fetched, is closed where ``SCALESCOPE_HUB`` is anything but
1. All else is refused with one sentence, which is the same whether there is such a file or not.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from dashboard.checkpoints import CheckpointError
from dashboard.messages import Message

# What is read of a checkpoint's directory, and texts.
READ = (".json", ".safetensors", ".bin", ".model", ".txt")

ROOTS = "SCALESCOPE_ROOTS"
HUB = "SCALESCOPE_HUB"
CLOSED = Message(
    "No such name is open on this server: choose a sample, a text that comes with the project or a "
    "Hub id (owner/name), or ask its administrator to open a directory (SCALESCOPE_ROOTS)"
)
CLOSED_WITH_HUB = Message(
    "No such name is open on this server: choose a sample or a text that comes with the project, "
    "or ask its administrator to open a directory (SCALESCOPE_ROOTS) or the Hub (SCALESCOPE_HUB)"
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
    return _is_inside(path, allowed) and not _leads_out(path, allowed)


def _is_inside(path: Path, allowed: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in allowed)


def _leads_out(path: Path, allowed: Sequence[Path]) -> bool:
    """Whether a link beside what a checkpoint is read from has its target elsewhere.

    A cache of the Hub is such links, to files two directories up: its own directory may be opened.
    """
    try:
        directory = path if path.is_dir() else path.parent
        with os.scandir(directory) as entries:
            return not all(
                _is_inside(Path(entry.path).resolve(), allowed)
                for entry in entries
                if entry.is_symlink() and entry.name.endswith(READ)
            )
    except (OSError, RuntimeError):  # there is no such directory, or none that may be read
        return False


def is_hub_open(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a visitor may have models fetched: SCALESCOPE_HUB is 1, or not set."""
    return environment.get(HUB, "1") == "1"


def refusal() -> CheckpointError:
    """What a page says of every name that is not open."""
    return CheckpointError(CLOSED if is_hub_open() else CLOSED_WITH_HUB)

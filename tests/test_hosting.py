"""What docs/operations.md promises of a server for others."""

import re
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dashboard.calibration import calibration_store
from dashboard.pages.outlining import MOST_BATCHES, MOST_TOKENS
from dashboard.pages.shelves import SHELVES
from dashboard.pages.uploads import MOST_BYTES, MOST_MB, MOST_OF_A_VISIT, TEXT_MB

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def test_the_configuration_is_that_of_a_server_for_others():
    options = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    assert options["server"]["enableXsrfProtection"] is True
    assert options["server"]["address"] == "localhost"
    assert options["server"]["fileWatcherType"] == "none"
    assert options["server"]["maxUploadSize"] == MOST_MB
    assert options["client"]["showErrorDetails"] == "none"
    assert "enableCORS" not in options["server"]  # on, as Streamlit has it


SOURCES = "".join(path.read_text("utf-8") for path in (ROOT / "dashboard").rglob("*.py"))


def test_the_variables_that_are_named_are_those_that_are_read():
    read = set(re.findall(r'"(SCALESCOPE_[A-Z]+)"', SOURCES))
    assert len(read) >= 8
    assert set(re.findall(r"SCALESCOPE_[A-Z]+", OPERATIONS + DOCKERFILE)) == read


def test_the_container_has_what_the_code_reads():
    left_out = (ROOT / ".dockerignore").read_text("utf-8").split()
    read = set(re.findall(r'parents\[2\] / "(\w+)"(?: / "(\w+)")?', SOURCES))
    assert ("benchmarks", "recorded") in read
    for directory, within in read:
        assert directory not in left_out
        assert f"{directory}/*" not in left_out or f"!{directory}/{within}" in left_out


def test_the_limits_are_those_of_the_code():
    assert f"| {MOST_BATCHES:,}, {MOST_TOKENS:,} |" in OPERATIONS
    assert calibration_store.MOST_BYTES == 2**30 and "| 1 GiB in the user's cache" in OPERATIONS
    assert f"{MOST_MB} MB a calibration file, {TEXT_MB} MB a text" in OPERATIONS
    assert f"{MOST_OF_A_VISIT} a visit, {MOST_BYTES // 10**9} GB in all" in OPERATIONS
    assert f"client_max_body_size {MOST_MB}m" in OPERATIONS
    shared = sum(most for name, (_, most, _) in SHELVES.items() if name != "model")
    assert f"about {shared / 2**30:.1f} GiB" in OPERATIONS


def test_the_container_has_the_torch_of_the_requirements_and_no_rights():
    (torch,) = re.findall(r"^torch==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert f"torch=={torch} " in DOCKERFILE
    user, command = DOCKERFILE.index("\nUSER 10001"), DOCKERFILE.index("\nCMD ")
    assert user < command
    assert not re.search(r"^USER root", DOCKERFILE, re.M)


def test_a_balancer_is_told_that_the_server_is_well(server):
    with urllib.request.urlopen(f"{server.address}/_stcore/health") as answer:
        assert (answer.status, answer.read()) == (200, b"ok")


def test_nobody_uploads_without_a_token(server):
    address = f"{server.address}/_stcore/upload_file/session/file"
    request = urllib.request.Request(address, b"content", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code in (400, 403)

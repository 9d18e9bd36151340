"""What a visitor may read of the server's disk: on a server that others reach, nothing by path."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import opening
import pytest
import streamlit.config
from playwright.sync_api import Page
from streamlit.testing.v1 import AppTest

from benchmarks.page import served
from dashboard.checkpoints import SAMPLES_DIR, loading
from dashboard.pages import outlining
from dashboard.pages.access import CLOSED, CLOSED_WITH_HUB, is_hub_open, is_loopback, is_open
from dashboard.pages.refusing import visible

EVERYWHERE = (None, "", "0.0.0.0", "::", "192.168.1.7", "example.org", "unix:///run/scalescope")
HERE = ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "[::1]")

# What exists and what does not, of each kind, and names that no file can have.
PATHS = [
    "/etc",
    "/etc/passwd",
    "/etc/no-such-file",
    "/root/no/such",
    "~",
    "~nobody-here/x",
    ".",
    "..",
    "../..",
    "tests",
    "nowhere",
    "/dev/zero",
    "\x00",
    "x" * 5000,
]


@pytest.mark.parametrize("address", EVERYWHERE)
def test_an_address_that_others_reach_is_no_loopback(address):
    assert not is_loopback(address)


@pytest.mark.parametrize("address", HERE)
def test_this_machines_own_addresses_are_the_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_open_on_the_loopback_alone(path):
    assert all(is_open(path, address, {}) for address in HERE)
    assert not any(is_open(path, address, {}) for address in EVERYWHERE[2:])


def test_named_directories_alone_are_open_wherever_the_server_listens(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "text.txt").write_text("text")
    (inside / "link").symlink_to(outside)
    (outside / "link").symlink_to(inside)
    (inside / "circle").symlink_to(inside / "circle")
    environment = {"SCALESCOPE_ROOTS": os.pathsep.join([str(inside), str(tmp_path / "more")])}
    for address in (*HERE, *EVERYWHERE[2:]):
        for path in (
            inside,
            inside / "text.txt",
            inside / "none",
            tmp_path / "more" / "x",
            outside / "link" / "text.txt",
            outside / ".." / "inside",
        ):
            assert is_open(str(path), address, environment), path
        for path in (
            outside,
            tmp_path,
            inside / ".." / "outside" / "text.txt",
            inside / "link" / "text.txt",
            inside / "circle",
            f"{inside}-more",
            f"{inside}/\x00",
            "~nobody-here/x",
            "/etc/passwd",
        ):
            assert not is_open(str(path), address, environment), path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_of_a_checkpoint_that_is_a_link_out_closes_it(tmp_path, name):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", inside / "model")
    outside.mkdir()
    environment = {"SCALESCOPE_ROOTS": str(inside)}
    assert is_open(str(inside / "model"), "localhost", environment)
    (outside / name).write_bytes(b"{}")
    (inside / "model" / name).unlink(missing_ok=True)
    (inside / "model" / name).symlink_to(outside / name)
    for path in (inside / "model", inside / "model" / "model.safetensors"):
        assert not is_open(str(path), "localhost", environment), path
    environment = {"SCALESCOPE_ROOTS": os.pathsep.join([str(inside), str(outside)])}
    assert is_open(str(inside / "model"), "localhost", environment)


@pytest.mark.parametrize(
    ("value", "is_open"), [(None, True), ("1", True), ("0", False), ("", False)]
)
def test_the_hub_is_open_unless_it_is_closed(value, is_open):
    assert is_hub_open({} if value is None else {"SCALESCOPE_HUB": value}) is is_open


def test_with_the_hub_closed_its_ids_are_paths_like_any_other(reachable, monkeypatch):
    """Nothing is fetched, nor looked up in the cache."""
    monkeypatch.setenv("SCALESCOPE_HUB", "0")
    monkeypatch.setattr(loading, "_download", lambda *_: pytest.fail("asked the Hub"))
    for name in ("state-spaces/mamba-130m", "sample_checkpoints/mamba-tiny", "/etc/passwd"):
        assert error_texts(opened("layers", checkpoint=name)) == [CLOSED_WITH_HUB]


def test_on_the_loopback_a_closed_hub_leaves_paths_open(monkeypatch):
    monkeypatch.setenv("SCALESCOPE_HUB", "0")
    monkeypatch.setattr(loading, "_download", lambda *_: pytest.fail("asked the Hub"))
    (sentence,) = error_texts(opened("layers", checkpoint="state-spaces/mamba-130m"))
    assert "neither a directory" in sentence
    assert opened("layers", checkpoint="sample_checkpoints/mamba-tiny").dataframe


@pytest.mark.parametrize("named", ["", os.pathsep, ".", "sub", "~"])
def test_roots_that_name_no_directory_close_every_path(named):
    environment = {"SCALESCOPE_ROOTS": named}
    assert not any(is_open(path, "localhost", environment) for path in [*PATHS, str(Path.cwd())])


@pytest.fixture
def reachable(monkeypatch):
    """As if the server listened on every interface."""
    was = streamlit.config.get_option("server.address")
    monkeypatch.delenv("SCALESCOPE_ROOTS", raising=False)
    streamlit.config.set_option("server.address", "0.0.0.0")
    yield
    streamlit.config.set_option("server.address", was)


def opened(page: str, **settings: str) -> AppTest:
    return opening.asked(page, **({"batches": "2", "seq_len": "64"} | settings)).run()


def error_texts(app: AppTest) -> list[str]:
    """Errors, without the Markdown that escapes them."""
    assert not app.exception
    return [error.value.replace("\\", "") for error in app.error]


BOXES = [
    ("explore", "checkpoint"), ("explore", "text"), ("layers", "checkpoint"), ("layers", "text"),
    ("groups", "checkpoint"), ("sweep", "text"), ("batches", "text"), ("held-out", "text"),
    ("held-out", "judged"), ("held-out", "checkpoint"), ("kernel", "text"),
    ("compare", "checkpoint"),
    ("compare", "source_b"), ("compare", "text"), ("compare", "text_b"), ("claims", "checkpoint"),
    ("lesson", "checkpoint"), ("groups", "text"), ("kernel", "checkpoint"), ("sweep", "checkpoint"),
    ("batches", "checkpoint"), ("against", "layers"),
]  # fmt: skip


@pytest.mark.parametrize(("page", "box"), BOXES)
def test_every_box_refuses_every_path_in_the_same_words(page, box, reachable, tmp_path):
    here = tmp_path / "counts.safetensors"
    here.write_bytes(b"")
    more = {"step": "2"} if page == "lesson" else {}
    if page == "against":  # stands beside a quantized checkpoint alone
        page, box, more = "layers", "against", {"checkpoint": "mamba2-small-quamba2"}
    for path in ("/etc/passwd", "/etc/no-such-file", "/etc", "~nobody-here/x", str(here)):
        assert error_texts(opened(page, **more, **{box: path})) == [CLOSED], path


@pytest.mark.parametrize("path", PATHS)
def test_a_checkpoint_that_is_there_and_one_that_is_not_are_told_alike(path, reachable):
    assert error_texts(opened("layers", checkpoint=path)) == [CLOSED]


def test_samples_texts_and_hub_ids_stay_open(reachable, monkeypatch):
    assert opened("layers", checkpoint="mamba-tiny", text="out-of-domain.txt").dataframe
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(SAMPLES_DIR.parent)
    # A path of that form exists, and is not looked up.
    for name in ("sample_checkpoints/mamba-tiny", "sample_checkpoints/none"):
        (sentence,) = error_texts(opened("layers", checkpoint=name))
        assert sentence.startswith(f"{name} could not be fetched from the Hub")


def test_a_directory_that_the_administrator_opens_can_be_read(reachable, monkeypatch, tmp_path):
    model, text = tmp_path / "model", tmp_path / "own.txt"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", model)
    text.write_text("The quick brown fox. " * 40)
    monkeypatch.setenv("SCALESCOPE_ROOTS", str(tmp_path))
    assert opened("layers", checkpoint=str(model), text=str(text)).dataframe
    assert error_texts(opened("layers", checkpoint=str(model), text="/etc/passwd")) == [CLOSED]


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("/srv/models/m/config.json is no JSON", "config.json is no JSON"),
        ("无法读取/srv/models/m/config.json：不是 JSON", "无法读取config.json：不是 JSON"),
        ("state-spaces/mamba-130m is not on the Hub", "state-spaces/mamba-130m is not on the Hub"),
    ],
)
def test_no_sentence_names_the_servers_directories_in_any_language(sentence, shown, reachable):
    assert visible(sentence) == shown


@pytest.fixture
def page(browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    yield page
    page.close()


def outward_address() -> str | None:
    """An address of this machine that is not its loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def test_the_app_as_the_readme_starts_it_listens_to_this_machine_alone(server):
    outward = outward_address()
    if outward is None or is_loopback(outward):
        pytest.skip("this machine has no other address")
    port = urlsplit(server.address).port
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    with pytest.raises(OSError):
        socket.create_connection((outward, port), 5)


def test_from_any_directory_explore_has_its_address_and_others_reach_no_path(page, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as output, served(output, "0.0.0.0", tmp_path) as address:
        page.goto(f"{address}/explore?checkpoint=mamba2-tiny&layer=2&batches=2&seq_len=64")
        page.get_by_text("differ from the reference").wait_for(timeout=60_000)
        assert page.get_by_role("combobox", name="Checkpoint").input_value() == "mamba2-tiny"
        settings = parse_qs(urlsplit(page.url).query)
        assert settings["layer"] == ["2"] and settings["batches"] == ["2"]
        assert not page.get_by_text("Page not found").count()
        assert page.locator("[data-testid=stTopNavLink]", has_text="Explore").count() == 1
        for link in ("?text=/etc/passwd", f"?checkpoint={quote(str(SAMPLES_DIR / 'mamba-tiny'))}"):
            page.goto(f"{address}/layers{link}")
            page.get_by_role("alert").get_by_text("No such name is open").wait_for(timeout=60_000)
    assert "Traceback" not in log.read_text()


def test_no_line_of_a_traceback_reaches_a_visitor(monkeypatch):
    def broken(*_arguments) -> None:
        raise RuntimeError("what only the log may hold")

    monkeypatch.setattr(outlining, "outline", broken)
    (shown,) = opened("layers").exception
    assert "what only" not in f"{shown.message} {list(shown.stack_trace)}"
    assert "broken" not in str(list(shown.stack_trace))

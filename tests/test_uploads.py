"""What a visitor uploads: taken as a file of the server's is, that visit's alone, gone with it."""

import gc
import hashlib
import json
import struct

import pytest
from opening import asked, opened, page_text
from oracles import percentile_scale, values_of
from playwright.sync_api import expect
from safetensors.numpy import save

from dashboard import cli
from dashboard.calibration import calibrate, cut_text
from dashboard.calibration.archive import load_calibration
from dashboard.calibration.calibration_store import SUFFIX
from dashboard.checkpoints import SAMPLES_DIR, load_backbone, load_checkpoint
from dashboard.pages import calibrating, shelves, uploads

TEXT = (SAMPLES_DIR / "out-of-domain.txt").read_bytes()[:4000]
TINY = {"checkpoint": "mamba-tiny", "batches": "2", "seq_len": "64"}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.safetensors"
    options = ("--batches", "2", "--seq-len", "64", "--out", str(path))
    assert cli.main(["calibrate", "mamba2-tiny", *options]) == 0
    return path


def upload(app, name: str, content: bytes):
    app.file_uploader[0].set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


def refused(app) -> list[str]:
    return [error.value.replace("\\", "") for error in app.error]


def test_an_uploaded_text_is_calibrated_on_and_no_store_keeps_what_comes_of_it(
    tmp_path, monkeypatch
):
    shelves.clear()
    store = calibrating.CalibrationStore(tmp_path)
    monkeypatch.setattr(calibrating, "calibration_store", lambda: store)
    app = upload(opened("explore", **TINY, rule="percentile", alpha="0.99"), "mine.txt", TEXT)
    assert app.selectbox("text").value.endswith(":mine.txt")
    assert "mine.txt (uploaded)" in app.selectbox("text").options
    checkpoint = load_checkpoint("mamba-tiny")
    expected = calibrate(
        checkpoint, load_backbone(checkpoint, "cpu"), cut_text(checkpoint, "", TEXT, 2, 64)
    )
    histogram = expected.layer(0).slices[0].silu_output
    scale = next(m.value for m in app.metric if m.label == "x_out_scale")
    assert float(scale) == pytest.approx(percentile_scale(values_of(histogram), 0.99), rel=1e-3)
    kept = [path for path in tmp_path.iterdir() if path.name.endswith(SUFFIX)]
    texts = {load_calibration(path).origin.text_sha256 for path in kept}
    project = hashlib.sha256((SAMPLES_DIR / "calibration.txt").read_bytes()).hexdigest()
    assert texts == {project}  # which was on show first


def test_an_uploaded_calibration_file_stands_in_place_of_a_checkpoint(counts):
    app = upload(opened("explore", **TINY), "mine.safetensors", counts.read_bytes())
    assert app.selectbox("checkpoint").value.endswith(":mine.safetensors")
    origin = "Counts of mamba2-tiny on 2 × 64 tokens of calibration.txt"
    assert origin in page_text(app).replace("\\", "")
    assert not app.error
    # On the pages whose boxes are others, too.
    assert "mine.safetensors (uploaded)" in app.selectbox("checkpoint").options


@pytest.mark.parametrize("kind", ["text", "checkpoint"])
def test_in_another_visit_an_upload_is_not_there_whether_it_ever_was(kind, counts):
    own = opened("explore", **TINY)
    content = TEXT if kind == "text" else counts.read_bytes()
    upload(own, "mine.txt" if kind == "text" else "mine.safetensors", content)
    name = own.selectbox(kind).value
    never = name.replace(name.split(":")[1], "0123456789ab")
    sentences = []
    for stranger in (name, never):
        app = opened("explore", **(TINY | {kind: stranger}))
        sentences += refused(app)
        assert name not in app.selectbox(kind).options
    title = name.split(":")[2]
    expected = f"{title} was uploaded in another visit, and is not here: upload it again"
    assert sentences == [expected] * 2
    own.run()  # whose it is, to that visit nothing has happened
    assert own.selectbox(kind).value == name and not own.error


def hostile_header() -> bytes:
    """A header that claims arrays far beyond the file."""
    array = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    header = json.dumps({"a": array}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.txt", b"\xff\xfe\x00text", "x.txt is not UTF-8 text: invalid start byte"),
        (
            "x.txt",
            b"a" * (8 * 10**6 + 1),
            "x.txt has 8,000,001 bytes; at most 8,000,000 can be uploaded",
        ),
        ("x.safetensors", b"", "x.safetensors cannot be read: "),
        ("x.safetensors", struct.pack("<Q", 1 << 60), "x.safetensors cannot be read: "),
        ("x.safetensors", hostile_header(), "x.safetensors cannot be read: "),
        ("x.safetensors", save({}), "x.safetensors is not a calibration file"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(name, content, sentence):
    app = upload(opened("explore", **TINY), name, content)
    (error,) = refused(app)
    assert error.startswith(sentence)
    assert "/proc" not in error and "/tmp" not in error
    assert app.selectbox("text").value == "calibration.txt"
    assert app.selectbox("checkpoint").value == "mamba-tiny"
    gc.collect()
    assert not [own for own in uploads._ALL.values() if own.title == name]


def test_a_short_text_is_refused_as_any_other_and_by_its_own_name():
    app = upload(opened("explore", **TINY), "short.txt", b"ten words " * 3)
    (error,) = refused(app)
    assert error.startswith("short.txt has 30 tokens; 2 batches of 64 need 128")


def test_with_its_visit_an_upload_is_gone_from_memory_disk_and_shelves(counts):
    app = upload(opened("explore", **TINY), "gone.txt", TEXT)
    (own,) = (own for own in uploads._ALL.values() if own.title == "gone.txt")
    token, file = own.name.split(":")[1], own.file
    assert file.name not in ("", None) and own.path.stat().st_nlink == 0  # no path leads to it
    assert any(token in repr(key) for key in shelves.shelf("calibration")._values)
    del app, own
    gc.collect()
    assert token not in uploads._ALL
    opened("explore", **TINY)  # another visitor's next step
    for shelf in shelves._SHELVES.values():
        assert not any(token in repr(key) for key in shelf._values)


def test_a_visit_that_stays_away_ends_its_uploads_though_its_state_is_kept():
    """Two minutes as it is configured here; one that comes back in time keeps them."""
    app = upload(opened("explore", **TINY), "left.txt", TEXT)
    (own,) = (own for own in uploads._ALL.values() if own.title == "left.txt")
    token, there, away = own.name.split(":")[1], set(), {}

    def look(now: float) -> bool:
        uploads.end_visits(away, lambda session: session in there, now)
        return token in uploads._ALL

    there.add(own.session)
    assert look(0.0) and look(1000.0)
    there.clear()
    assert look(1010.0) and look(1129.0)
    there.add(own.session)
    assert look(1135.0)
    there.clear()
    assert look(1140.0) and not look(1261.0)
    assert own.file.closed
    for shelf in shelves._SHELVES.values():
        assert not any(token in repr(key) for key in shelf._values)
    del app


def test_of_many_uploads_the_oldest_goes_and_a_full_server_takes_none(monkeypatch):
    app = opened("explore", **TINY)
    for i in range(uploads.MOST_OF_A_VISIT + 1):
        upload(app, f"{i}.txt", TEXT + str(i).encode())
    offered = [option for option in app.selectbox("text").options if "(uploaded)" in option]
    assert offered == [f"{i}.txt (uploaded)" for i in range(1, uploads.MOST_OF_A_VISIT + 1)]
    monkeypatch.setattr(uploads, "MOST_BYTES", 5000)
    assert refused(upload(app, "more.txt", TEXT)) == [
        "The server holds as many uploads as it may: try again later."
    ]


@pytest.mark.parametrize("limit", ["0", "-1", "much"])
def test_a_server_may_take_no_uploads(limit, monkeypatch):
    monkeypatch.setenv("SCALESCOPE_UPLOADS", limit)
    assert not asked("explore", **TINY).run().file_uploader


def test_a_server_may_take_smaller_ones(monkeypatch):
    monkeypatch.setenv("SCALESCOPE_UPLOADS", "1")
    app = upload(opened("explore", **TINY), "x.txt", b"a" * (10**6 + 1))
    assert refused(app) == ["x.txt has 1,000,001 bytes; at most 1,000,000 can be uploaded"]


# In a browser, over the server's own door, which wants its token


def test_a_file_of_each_kind_is_uploaded_and_another_visitor_has_none(
    tab, server, browser, counts, tmp_path
):
    text = tmp_path / "mine.txt"
    text.write_bytes(TEXT)
    tab.emulate_media(color_scheme="dark")
    tab.goto(f"{server.address}/?checkpoint=mamba-tiny&batches=2&seq_len=64")
    tab.get_by_text("differ from the reference").wait_for()
    tab.locator(".st-key-calibration button").first.click()
    for file, box in ((text, "text"), (counts, "checkpoint")):
        label = tab.locator("[data-testid=stPopoverBody] [data-testid=stWidgetLabel] p").first
        body = tab.locator("[data-testid=stPopoverBody]")
        colours = [own.evaluate("e => getComputedStyle(e).color") for own in (label, body)]
        assert colours[0] == colours[1]  # in the dark, too
        files = tab.locator("[data-testid=stFileUploader] input")
        expect(files).to_have_count(1)  # what was sent has gone from it
        files.set_input_files(file)
        tab.wait_for_function(f"location.search.includes('{box}=upload')")
    expect(tab.locator(".st-key-checkpoint input")).to_have_value("counts.safetensors (uploaded)")
    link = tab.url
    visitor = browser.new_context(locale="en-US").new_page()
    try:
        visitor.goto(link)
        sentence = "counts.safetensors was uploaded in another visit, and is not here"
        visitor.get_by_text(sentence).wait_for()
    finally:
        visitor.context.close()

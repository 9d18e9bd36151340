"""Models by id, from a stand-in for the Hub on the loopback, asked by the Hub's own client."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import opening
import pytest
import torch
from hub_stand_in import COMMIT, StandIn, hub
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import MambaConfig, MambaForCausalLM

from dashboard import cli
from dashboard.calibration import read_text
from dashboard.calibration.archive import load_calibration
from dashboard.calibration.calibration_store import counts_key
from dashboard.checkpoints import SAMPLES_DIR, CheckpointError, is_hub_id, load_checkpoint
from dashboard.checkpoints.hub import STATE_SPACES_TOKENIZER
from dashboard.checkpoints.hub import fetch as fetch_model
from dashboard.pages import calibrating, jobs, loading, shelves, waiting
from dashboard.pages.sources import Source

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def stand_in(tmp_path) -> Iterator[StandIn]:
    model = tmp_path / "hub" / "someone" / "some-model"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", model)
    (model / "pytorch_model.bin").write_bytes(b"the same weights, in a pickle")
    (model / "README.md").write_text("words")
    with hub(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def fetch(monkeypatch) -> Callable[..., dict]:
    """``fetch(stand_in, cache, name, token, offline, **options)``: what comes of it, or the error.

    As if the process had been started with HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.
    """

    def fetched(
        stand_in: StandIn | None,
        cache: Path,
        name: str,
        token: str = "",
        offline: bool = False,
        **options: bool,
    ) -> dict:
        address = stand_in.address if stand_in else NOBODY
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
        monkeypatch.setenv("HF_TOKEN", token)
        seen: list[tuple[int, int]] = []
        try:
            directory = fetch_model(name, on_bytes=lambda *done: seen.append(done), **options)
        except CheckpointError as error:
            return {"error": str(error)}
        layers = load_checkpoint(str(directory)).n_layers
        files = sorted(path.name for path in directory.iterdir())
        return {"layers": layers, "seen": seen[-1:], "files": files}

    return fetched


def test_a_model_is_fetched_once_and_what_is_not_read_is_not(stand_in, tmp_path, fetch):
    cache = tmp_path / "cache"
    first = fetch(stand_in, cache, "someone/some-model")
    assert first["layers"] == 4
    wanted = ["config.json", "model.safetensors"]
    assert sorted(set(stand_in.fetched())) == wanted
    assert [name for name in first["files"] if name in wanted] == wanted
    model = stand_in.root / "someone" / "some-model"
    size = sum((model / name).stat().st_size for name in wanted)
    assert first["seen"] == [(size, size)]
    stand_in.asked.clear()
    assert fetch(stand_in, cache, "someone/some-model")["layers"] == 4
    assert stand_in.fetched() == []


def test_a_download_that_was_cut_off_goes_on_where_it_was(stand_in, tmp_path, fetch):
    stand_in.cut_after = 300_000
    assert fetch(stand_in, tmp_path / "cache", "someone/some-model")["layers"] == 4
    assert stand_in.ranges() and all(int(span[6:-1]) > 0 for span in stand_in.ranges())


def test_a_revision_is_asked_for(stand_in, tmp_path, fetch):
    assert fetch(stand_in, tmp_path / "cache", "someone/some-model@v1")["layers"] == 4
    assert any(path.endswith("/revision/v1") for _, path, *_ in stand_in.asked)
    assert all(f"/resolve/{COMMIT}/" in path for _, path, *_ in stand_in.asked if "resolve" in path)
    error = fetch(stand_in, tmp_path / "cache", "someone/some-model@v2")["error"]
    assert error == (
        "someone/some-model@v2 could not be fetched from the Hub: it has no revision v2"
    )


def test_a_private_model_needs_the_token_and_visitors_do_not_have_it(stand_in, tmp_path, fetch):
    stand_in.private["someone/some-model"] = "hf_secret"
    expected = "there is no such model, or it is private and needs a token that may read it"
    assert expected in fetch(stand_in, tmp_path / "a", "someone/some-model")["error"]
    name, token = "someone/some-model", "hf_secret"
    assert expected in fetch(stand_in, tmp_path / "b", name, token, anonymously=True)["error"]
    assert fetch(stand_in, tmp_path / "c", name, token)["layers"] == 4


def test_what_the_hub_refuses_is_a_sentence(stand_in, tmp_path, fetch):
    assert "there is no such model" in fetch(stand_in, tmp_path / "a", "someone/other")["error"]
    stand_in.gated.add("someone/some-model")
    error = fetch(stand_in, tmp_path / "a", "someone/some-model")["error"]
    assert "its owner wants terms to be accepted" in error


@pytest.mark.parametrize("offline", [True, False], ids=["told", "unreachable"])
def test_offline_the_cache_serves_or_a_sentence_says_what_is_missing(
    stand_in, tmp_path, fetch, offline
):
    cache = tmp_path / "cache"
    error = fetch(None, cache, "someone/some-model", offline=offline)["error"]
    assert "http://127.0.0.1:9 cannot be reached from here" in error
    assert f"the cache {cache} does not have it" in error
    fetch(stand_in, cache, "someone/some-model")
    assert fetch(None, cache, "someone/some-model", offline=offline)["layers"] == 4


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("owner/name", True), ("owner/name@main", True), ("owner/name@refs/pr/1", True),
        ("owner", False), ("a/b/c", False), ("owner/name@", False), ("/etc/passwd", False),
        ("owner/na me", False), ("../name", False),
    ],
)  # fmt: skip
def test_what_a_hub_id_looks_like(name, is_one):
    assert is_hub_id(name) is is_one


def test_a_page_fetches_a_model_and_says_how_far_it_is(stand_in, tmp_path, fetch, monkeypatch):
    fetch(stand_in, tmp_path / "cache", "someone/none")  # as if the server had been started so
    shown: list[tuple[float, str]] = []
    monkeypatch.setattr(waiting, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "LOOK_S", 0.001)
    real = waiting.show_fetched
    monkeypatch.setattr(
        waiting,
        "show_fetched",
        lambda frame, name, fetched: (shown.append(fetched), real(frame, name, fetched)),
    )
    shelves.clear()
    app = opening.opened("layers", checkpoint="someone/some-model", batches="2", seq_len="64")
    assert not app.error and app.dataframe
    assert all(0 <= fetched.done <= fetched.size for fetched in shown)


def save_tokenizer(directory: Path) -> None:
    """One that knows four words."""
    words = {"[UNK]": 0, "the": 1, "whale": 2, "ship": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    directory.mkdir(parents=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def own_text(tmp_path) -> str:
    text = tmp_path / "own.txt"
    text.write_text("the whale the ship and the whale " * 8)
    return str(text)


def test_state_spaces_models_read_with_the_tokenizer_that_they_are_evaluated_with(
    stand_in, tmp_path, fetch, own_text
):
    save_tokenizer(stand_in.root / "EleutherAI" / "gpt-neox-20b")
    model = stand_in.root / "state-spaces" / "mamba-130m"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 50280}))
    fetch(stand_in, tmp_path / "cache", "someone/none")
    checkpoint = load_checkpoint("state-spaces/mamba-130m")
    text = read_text(checkpoint, own_text, 2, 4)
    assert text.tokens.tolist() == [[1, 2, 1, 3], [0, 1, 2, 1]]
    fetch(None, tmp_path / "other cache", "someone/none")
    with pytest.raises(CheckpointError, match=r"EleutherAI/gpt-neox-20b could not be fetched"):
        read_text(checkpoint, own_text, 2, 4)


def test_a_tokenizer_can_be_named(tmp_path, own_text, capsys, monkeypatch):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    save_tokenizer(tmp_path / "words")
    asked = ["calibrate", "mamba-tiny", "--text", own_text, "--batches", "2", "--seq-len", "4"]
    files = [str(tmp_path / f"{name}.safetensors") for name in ("bytes", "words")]
    assert cli.main([*asked, "--out", files[0]]) == 0
    assert cli.main([*asked, "--tokenizer", str(tmp_path / "words"), "--out", files[1]]) == 0
    counts = [load_calibration(file).layers[0].slices[0].silu_output for file in files]
    assert counts[0].total == counts[1].total
    assert counts[0].values.tolist() != counts[1].values.tolist()
    (tmp_path / "words" / "tokenizer.json").write_text("{")
    capsys.readouterr()
    for name, sentence in (("nowhere", "give a directory, or a Hub id"), ("words", "--tokenizer")):
        assert cli.main([*asked, "--tokenizer", str(tmp_path / name), "--out", files[0]]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1


def test_a_server_whose_hub_is_closed_fetches_no_tokenizer_either(tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 50280}))
    monkeypatch.setenv("SCALESCOPE_ROOTS", str(tmp_path))
    monkeypatch.setenv("SCALESCOPE_HUB", "0")
    with pytest.raises(CheckpointError, match="fetches none"):
        loading.text(Source(str(model), "calibration.txt", 2, 4))


@pytest.fixture
def without_tokenizer(tmp_path) -> str:
    """A model of 1,000 tokens, as transformers stores it, and no tokenizer beside it."""
    directory = tmp_path / "model"
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 1000}
    torch.manual_seed(0)
    MambaForCausalLM(MambaConfig(**sizes)).save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize("where", ["the Hub", "a directory"])
def test_a_page_takes_another_tokenizer_in_the_box_where_the_checkpoint_has_none(
    stand_in, tmp_path, fetch, own_text, without_tokenizer, where
):
    """Its batches are what the tokenizer makes of the text, by hand: a word is a token."""
    place = stand_in.root / STATE_SPACES_TOKENIZER if where == "the Hub" else tmp_path / "words"
    save_tokenizer(place)
    fetch(stand_in, tmp_path / "cache", "someone/none")
    shelves.clear()
    size = {"text": own_text, "batches": "2", "seq_len": "4"}
    app = opening.asked("layers", checkpoint=without_tokenizer, **size).run()
    assert [error.value.replace("\\", "") for error in app.error] == [
        "model has a vocabulary of 1000 and no tokenizer beside its weights: choose one under "
        "Calibration, of the Hub or a directory"
    ]
    box = app.selectbox(key="tokenizer")
    assert box.options == ["none yet: choose one", STATE_SPACES_TOKENIZER]
    name = STATE_SPACES_TOKENIZER if where == "the Hub" else str(place)
    app = opening.opened("layers", checkpoint=without_tokenizer, tokenizer=name, **size)
    assert not app.error and app.dataframe
    source = Source(without_tokenizer, own_text, 2, 4, name)
    assert loading.text(source).tokens.tolist() == [[1, 2, 1, 3], [0, 1, 2, 1]]
    # The counts go by it, as those of the command line do.
    key = calibrating._key(source, False)
    words = counts_key(Path(without_tokenizer), "", 2, 4, False, "cpu", None, place)
    assert key.tokenizer == words.tokenizer


def test_what_is_missing_of_a_tokenizer_is_said_in_a_sentence(
    tmp_path, fetch, own_text, without_tokenizer, monkeypatch
):
    fetch(None, tmp_path / "cache", "someone/none")

    def reason(name: str) -> str:
        shelves.clear()
        with pytest.raises(CheckpointError) as refused:
            loading.text(Source(without_tokenizer, own_text, 2, 4, name))
        return str(refused.value)

    assert f"{STATE_SPACES_TOKENIZER} could not be fetched" in reason(STATE_SPACES_TOKENIZER)
    assert "cannot be reached from here" in reason(STATE_SPACES_TOKENIZER)
    assert "is no directory with a tokenizer, and no Hub id" in reason("/no/where")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    assert "has no tokenizer that can be used" in reason(str(tmp_path / "broken"))
    monkeypatch.setenv("SCALESCOPE_ROOTS", str(tmp_path / "model"))
    monkeypatch.setenv("SCALESCOPE_HUB", "0")
    for name in ("/etc", str(tmp_path / "broken"), "/no/where", STATE_SPACES_TOKENIZER):
        with pytest.raises(CheckpointError, match="No such name is open on this server"):
            loading.tokenizer_directory(Source(without_tokenizer, "calibration.txt", 2, 4, name))


def test_a_checkpoint_that_reads_bytes_has_no_box_and_takes_no_tokenizer():
    app = opening.opened(
        "layers", checkpoint="mamba-tiny", batches="2", seq_len="64", tokenizer="/no/where"
    )
    assert not app.error
    assert "tokenizer" not in [box.key for box in app.selectbox]

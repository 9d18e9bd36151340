"""Broken and hostile checkpoints end in one sentence: nothing runs, bursts or hangs."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opening import opened
from random_checkpoints import CONFIGS, save_model
from safetensors import safe_open
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from dashboard import cli
from dashboard.calibration import CalibrationError, calibrate, read_text
from dashboard.calibration.archive import save_calibration
from dashboard.checkpoints import SAMPLES_DIR, CheckpointError, load_backbone, load_checkpoint
from dashboard.checkpoints.families import FAMILIES

CONV = "backbone.layers.0.mixer.conv1d.weight"

seeded = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A whole checkpoint of each form of storage, to be broken in copies."""
    root = tmp_path_factory.mktemp("originals")
    save_model("mamba2", root / "safetensors")
    save_model("bamba", root / "hybrid")
    state = load_file(root / "safetensors" / "model.safetensors")
    for form in ("pickle", "shards", "pickled-shards"):
        (root / form).mkdir()
        shutil.copy(root / "safetensors" / "config.json", root / form)
    torch.save(state, root / "pickle" / "pytorch_model.bin")
    for form, whole, write in (
        ("shards", "model.safetensors", save_file),
        ("pickled-shards", "pytorch_model.bin", torch.save),
    ):
        stem, suffix = whole.split(".")
        shards = {n: f"{stem}-{i % 2 + 1:05}-of-00002.{suffix}" for i, n in enumerate(state)}
        for shard in set(shards.values()):
            own = {n: t for n, t in state.items() if shards[n] == shard}
            write(own, root / form / shard)
        index = root / form / f"{whole}.index.json"
        index.write_text(json.dumps({"weight_map": shards}))
    shutil.copytree(SAMPLES_DIR / "mamba2-small-quamba2", root / "quamba2")
    return root


@pytest.fixture
def copy_of(originals, tmp_path):
    def copy(form: str) -> Path:
        shutil.copytree(originals / form, tmp_path / form)
        return tmp_path / form

    return copy


def refused(directory: Path, fault: str | None = None) -> str:
    """The one sentence that loading a checkpoint ends in."""
    with pytest.raises(CheckpointError, match=fault) as error:
        load_backbone(load_checkpoint(str(directory)), "cpu")
    sentence = str(error.value)
    assert sentence.isprintable() and len(sentence) <= 601
    return sentence


def loads_or_tells(directory: Path) -> None:
    """What must hold of any bytes whatever, up to a first forward."""
    try:
        checkpoint = load_checkpoint(str(directory))
        backbone = load_backbone(checkpoint, "cpu")
        calibrate(checkpoint, backbone, read_text(checkpoint, batches=1, seq_len=5))
    except (CheckpointError, CalibrationError) as error:
        assert len(str(error).splitlines()) == 1


def with_header(path: Path, header: bytes, length: int | None = None) -> None:
    """Replace a safetensors file's header, and what it says of the header's length."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    claimed = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", claimed) + header + content[8 + size :])


HEADERS = {
    "empty file": lambda p: p.write_bytes(b""),
    "seven bytes": lambda p: p.write_bytes(b"\x01" * 7),
    "truncated header": lambda p: p.write_bytes(p.read_bytes()[:40]),
    "truncated data": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "trailing data": lambda p: p.write_bytes(p.read_bytes() + b"x"),
    "oversized header": lambda p: with_header(p, b"{}", 2**63),
    "header longer than the file": lambda p: with_header(p, b"{}", 10**6),
    "not JSON": lambda p: with_header(p, b"<html>"),
    "not an object": lambda p: with_header(p, b"[1, 2]"),
    "a tensor beyond the end": lambda p: with_header(
        p, json.dumps({CONV: {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}})
        .encode()
    ),
    "a shape that its bytes deny": lambda p: with_header(
        p, json.dumps({CONV: {"dtype": "F32", "shape": [96, 1, 4], "data_offsets": [0, 4]}})
        .encode()
    ),
    "a negative offset": lambda p: with_header(
        p, json.dumps({CONV: {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}).encode()
    ),
    "a dtype that is none": lambda p: with_header(
        p, json.dumps({CONV: {"dtype": "<b>", "shape": [1], "data_offsets": [0, 4]}}).encode()
    ),
    "deep nesting": lambda p: with_header(p, b'{"a":' * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("fault", HEADERS)
def test_a_broken_safetensors_file_is_named(fault, copy_of):
    directory = copy_of("safetensors")
    HEADERS[fault](directory / "model.safetensors")
    assert "model.safetensors is not a readable safetensors file" in refused(directory)


@pytest.mark.parametrize("form", ["shards", "pickled-shards"])
def test_a_missing_or_broken_shard_is_named(form, copy_of):
    directory = copy_of(form)
    shard = sorted(directory.glob("*-00002-of-00002.*"))[0]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    assert shard.name in refused(directory)
    shard.unlink()
    assert f"names the file '{shard.name}', which does not exist beside it" in refused(directory)


@pytest.mark.parametrize(
    "weight_map",
    [
        None,
        [],
        3,
        {},
        {CONV: None},
        {CONV: 3},
        {CONV: ""},
        {CONV: "."},
        {CONV: ".."},
        {CONV: "config.json"},
        {CONV: "../safetensors/model.safetensors"},
        {CONV: "/etc/passwd"},
        {CONV: "sub/model.safetensors"},
        {CONV: "\x00.safetensors"},
        {CONV: "x" * 5000 + ".safetensors"},
        {CONV: "<img src=x onerror=alert(1)>.safetensors"},
    ],
    ids=lambda shown: str(shown)[-40:],
)
def test_an_index_may_name_nothing_but_weights_beside_it(weight_map, copy_of):
    directory = copy_of("shards")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    message = refused(directory)
    assert (
        "model.safetensors.index.json" in message
        or "no tensor that ends in conv1d.weight" in message
    )


BAD_JSON = {
    "empty": "",
    "cut": '{"model_type": "mamba2"',
    "a string": '"mamba2"',
    "null": "null",
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "an integer of a million digits": '{"d_model": ' + "9" * 10**6 + "}",
    "twenty megabytes": '{"d_model": "' + "a" * 20_000_000 + '"}',
}


@pytest.mark.parametrize("fault", BAD_JSON)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_bad_json_is_named(fault, name, copy_of):
    directory = copy_of("shards")
    (directory / name).write_text(BAD_JSON[fault])
    assert name in refused(directory)


def test_a_config_that_is_no_file_does_not_hang(copy_of):
    directory = copy_of("safetensors")
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    refused(directory, r"config\.json does not exist")


@pytest.mark.parametrize("value", [10**12, 2**31, 10**400, -1, 0, 1.5, True, None, "3", [1], {}])
@pytest.mark.parametrize(
    "key", ["hidden_size", "num_hidden_layers", "vocab_size", "n_groups", "expand", "num_heads"]
)
def test_absurd_sizes_are_named(key, value, copy_of):
    directory = copy_of("safetensors")
    config = json.loads((directory / "config.json").read_text()) | {key: value}
    (directory / "config.json").write_text(json.dumps(config))
    assert key in refused(directory)


@pytest.mark.parametrize(
    ("form", "changed", "fault"),
    [
        ("safetensors", {"num_hidden_layers": 10**9}, "it can be 65536 at most"),
        ("safetensors", {"num_hidden_layers": 2}, "has a layer 2, but its config.json says"),
        ("hybrid", {"num_hidden_layers": 60_000}, "has no tensor of layer 4, but its config"),
        ("safetensors", {"vocab_size": 2 * 10**9}, "describes 64,000,0"),
        ("hybrid", {"intermediate_size": 2 * 10**9}, "does not fit its config.json"),
        ("safetensors", {"chunk_size": 2**16}, "chunk_size is 65536; it can be 1024 at most"),
        ("safetensors", {"chunk_size": 2 * 10**9}, "chunk_size is 2000000000; it can be 1024"),
        ("safetensors", {"time_step_rank": "<script>"}, "refused by transformers|does not fit"),
        ("safetensors", {"hidden_act": ["silu"]}, r"hidden_act is \['silu'\]; the kernel"),
        ("safetensors", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("safetensors", {"model_type": ["mamba2"]}, r"model_type is \['mamba2'\]; allowed are"),
        ("safetensors", {"model_type": "![x](http://h/)" * 99}, r"model_type is '!\[x\]"),
        ("safetensors", {"layer_norm_epsilon": "small"}, "is refused by transformers"),
        ("quamba2", {"n_layer": 10**12}, "n_layer is 1000000000000; it can be"),
        ("quamba2", {"d_model": 2**30}, r"weight is torch\.int8 \(640, 4\); expected"),
        ("quamba2", {"ssm_cfg": {"layer": ["Mamba2"]}}, r"ssm_cfg\.layer lists 1 layers"),
        ("quamba2", {"attn_layer_idx": [1]}, "names layer 1, which has a Mamba mixer"),
        ("quamba2", {"attn_layer_idx": [-1]}, r"attn_layer_idx is \[-1\]; it must list layers"),
    ],
)
def test_a_config_that_the_weights_deny_is_named(form, changed, fault, copy_of):
    directory = copy_of(form)
    config = json.loads((directory / "config.json").read_text()) | changed
    (directory / "config.json").write_text(json.dumps(config))
    refused(directory, fault)


def test_what_only_shows_when_the_model_runs_is_one_sentence(copy_of):
    directory = copy_of("hybrid")
    config = json.loads((directory / "config.json").read_text()) | {"output_hidden_states": 0.5}
    (directory / "config.json").write_text(json.dumps(config))
    checkpoint = load_checkpoint(str(directory))
    text = read_text(checkpoint, batches=1, seq_len=8)
    with pytest.raises(CalibrationError, match=r"the model cannot be run: .float. object is not"):
        calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text)


TOKENIZERS = {
    "no JSON": {"tokenizer.json": "<html>"},
    "no tokenizer": {"tokenizer.json": "{}"},
    "code of its own": {
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
        ),
        "own.py": "raise SystemExit('the code ran')",
    },
    "a class that is none": {"tokenizer_config.json": '{"tokenizer_class": "<b>"}'},
}


@pytest.mark.parametrize("fault", TOKENIZERS)
def test_a_tokenizer_that_cannot_be_used_is_one_sentence_and_runs_nothing(fault, copy_of):
    directory = copy_of("safetensors")
    for name, content in TOKENIZERS[fault].items():
        (directory / name).write_text(content)
    with pytest.raises(CheckpointError, match="has a tokenizer that cannot be used") as error:
        read_text(load_checkpoint(str(directory)), batches=1, seq_len=4)
    assert str(error.value).isprintable()


PANIC = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
}


def test_a_tokenizer_at_which_its_library_panics_is_one_sentence(copy_of):
    directory = copy_of("safetensors")
    (directory / "tokenizer.json").write_text(json.dumps(PANIC))
    with pytest.raises(CheckpointError, match="cannot be used: Precompiled"):
        read_text(load_checkpoint(str(directory)), batches=1, seq_len=4)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_is_no_fault_of_a_tokenizer(signal, copy_of, monkeypatch):
    directory = copy_of("safetensors")
    (directory / "tokenizer.json").write_text("{}")

    def interrupted(*_arguments, **_options) -> None:
        raise signal

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", interrupted)
    with pytest.raises(signal):
        read_text(load_checkpoint(str(directory)), batches=1, seq_len=4)


@pytest.mark.parametrize("text", ["~nobody-here/x", "\x00", "x" * 5000, "/dev/zero", "/", "none"])
def test_a_text_that_is_no_file_is_one_sentence(text):
    with pytest.raises(CalibrationError, match="cannot be read") as error:
        read_text(load_checkpoint("mamba-tiny"), text, 1, 4)
    assert str(error.value).isprintable() and len(str(error.value)) <= 601


def test_a_pipe_in_place_of_a_text_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CalibrationError, match="it is not a file"):
        read_text(load_checkpoint("mamba-tiny"), str(tmp_path / "pipe"), 1, 4)


def sparse(path: Path, size: int) -> Path:
    """A file that claims many bytes and takes none."""
    with path.open("ab") as file:
        file.truncate(size)
    return path


def test_a_text_of_many_gigabytes_is_refused_unread(tmp_path):
    with pytest.raises(CalibrationError, match="a text has at most"):
        read_text(load_checkpoint("mamba-tiny"), str(sparse(tmp_path / "text", 2**40)), 1, 4)


@pytest.mark.parametrize("form", ["safetensors", "pickle"])
def test_weights_that_claim_more_than_the_memory_are_one_sentence(form, copy_of):
    directory = copy_of(form)
    (path,) = [*directory.glob("*.safetensors"), *directory.glob("*.bin")]
    sparse(path, 2**44 - 2**13)  # more than can be mapped where memory is not overcommitted
    assert path.name in refused(directory)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "place",
    [
        "torch.load",
        "transformers.Mamba2Model.from_pretrained",
        "transformers.Mamba2Model.forward",
        "dashboard.checkpoints.weights.safe_open",
    ],
)
def test_memory_that_runs_out_is_no_fault_of_the_files(place, error, copy_of, monkeypatch):
    directory = copy_of("pickle" if place == "torch.load" else "safetensors")
    if place.endswith("safe_open") and not isinstance(error, MemoryError):
        pytest.skip("only a mapping that fails ends there")

    def fails(*_arguments, **_options) -> None:
        raise error

    if "transformers" in place:
        load_backbone(load_checkpoint(str(directory)), "cpu")
    monkeypatch.setattr(place, fails)
    with pytest.raises((CheckpointError, CalibrationError), match="more memory than there is"):
        checkpoint = load_checkpoint(str(directory))
        backbone = load_backbone(checkpoint, "cpu")
        calibrate(checkpoint, backbone, read_text(checkpoint, batches=1, seq_len=4))


def test_what_a_model_was_refused_for_is_in_the_log(copy_of, caplog):
    directory = copy_of("safetensors")
    with_config(directory, layer_norm_epsilon="small")
    with caplog.at_level("INFO", "dashboard"):
        refused(directory, "is refused by transformers")
    assert any(record.exc_info for record in caplog.records)


def test_a_tokenizer_with_more_tokens_than_the_model_is_named(copy_of):
    directory = copy_of("safetensors")
    words = {"[UNK]": 999, "the": 1}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    with pytest.raises(CheckpointError, match="gives token 999; the model's vocabulary has 256"):
        read_text(load_checkpoint(str(directory)), batches=1, seq_len=4)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        (CONV, torch.zeros(0), r"conv1d\.weight has shape \(0,\)"),
        (CONV, torch.zeros(96, 4, 1), r"conv1d\.weight has shape \(96, 4, 1\)"),
        (CONV, torch.zeros(96, 1, 4, dtype=torch.complex64), "float weights are needed"),
        (CONV, torch.full((96, 1, 4), torch.inf), "NaN or infinite"),
        (CONV.replace("weight", "bias"), torch.zeros(95), r"conv1d\.bias has shape \(95,\)"),
        (CONV.replace("weight", "bias"), torch.full((96,), torch.nan), "bias contains NaN"),
        (CONV.replace("conv1d.weight", "norm.bias"), torch.zeros(4), "not of this model, as"),
        ("backbone.layers.7.mixer.A_log", torch.zeros(4), "has a layer 7"),
        ("backbone.layers.999999999.x", torch.zeros(1), "has a layer 999999999"),
    ],
)
@pytest.mark.parametrize("form", ["safetensors", "pickle"])
def test_a_tensor_that_does_not_fit_is_named(form, name, value, fault, copy_of):
    directory = copy_of(form)
    if form == "safetensors":
        path = directory / "model.safetensors"
        save_file(load_file(path) | {name: value}, path)
    else:
        path = directory / "pytorch_model.bin"
        torch.save(torch.load(path, weights_only=True) | {name: value}, path)
    refused(directory, fault)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "![x](http://host/x.png)",
        "backbone.layers.0.mixer.conv1d.weight\n\x1b[2J",
        "backbone.layers.٣.mixer.conv1d.weight",
        "a" * 100_000,
        "",
    ],
)
def test_names_with_markup_are_no_layers_and_reach_no_sentence(name, copy_of):
    directory = copy_of("safetensors")
    state = load_file(directory / "model.safetensors") | {name: torch.zeros(1)}
    save_file(state, directory / "model.safetensors")
    assert load_checkpoint(str(directory)).layers == (0, 1, 2)
    state.pop(CONV)
    save_file(state, directory / "model.safetensors")
    assert "alert" not in refused(directory, "has no tensor backbone.layers.0.mixer.conv1d.weight")


def test_a_model_without_a_convolution_says_so(copy_of):
    directory = copy_of("safetensors")
    save_file({"model.embed.weight": torch.zeros(3)}, directory / "model.safetensors")
    refused(directory, "no tensor that ends in conv1d.weight in a Mamba layer")


@pytest.mark.parametrize("source", ["a" * 5000, "a/" * 3000, "\x00", "~nobody-here/x", "\n", "."])
def test_a_name_that_no_file_can_have_is_one_sentence(source):
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(source)
    assert str(error.value).isprintable() and len(str(error.value)) <= 601


class Runs:
    """Pickled, it asks whoever reads it to call something."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["value", "key", "alone", "shard"])
def test_a_pickle_that_would_run_code_runs_nothing(where, copy_of, tmp_path):
    witness = tmp_path / "witness"
    hostile = Runs(Path.touch, witness)
    contents = {"value": {CONV: hostile}, "key": {hostile: 1}, "alone": hostile, "shard": [hostile]}
    directory = copy_of("pickled-shards" if where == "shard" else "pickle")
    target = sorted(directory.glob("*.bin"))[0]
    torch.save(contents[where], target)
    refused(directory, "cannot be read as plain weights")
    assert not witness.exists()


def test_a_plain_pickle_and_torchs_own_older_form_are_refused_unread(copy_of, tmp_path):
    directory, witness = copy_of("pickle"), tmp_path / "witness"
    path = directory / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(Runs(Path.touch, witness)))
    refused(directory, "it is not the archive that torch.save has written since torch 1.6")
    torch.save({CONV: Runs(Path.touch, witness)}, path, _use_new_zipfile_serialization=False)
    refused(directory, "it is not the archive")
    assert not witness.exists()


@pytest.mark.parametrize("content", [[], 3, "x", torch.zeros(2), {1: torch.zeros(2)}, {None: 1}])
def test_a_pickle_that_is_no_state_dict_is_named(content, copy_of):
    directory = copy_of("pickle")
    torch.save(content, directory / "pytorch_model.bin")
    assert "pytorch_model.bin" in refused(directory, "not a state dict|is no name")


def test_tensors_that_are_more_than_their_bytes_are_refused(copy_of):
    directory = copy_of("pickle")
    huge = {
        "expanded": torch.zeros(1).expand(10**6, 10**6),
        "sparse": torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**6, 10**6)),
        "on no device": torch.empty(10**6, 10**6, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8),
    }
    path = directory / "pytorch_model.bin"
    for tensor in huge.values():
        torch.save({CONV: tensor}, path)
        refused(directory, "does not hold as a plain tensor|cannot be read as plain weights")


def test_stored_scales_whose_products_leave_float32_are_named(copy_of, capsys):
    directory = copy_of("quamba2")
    path = directory / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    conv = next(name.removesuffix("wx_scale") for name in state if name.endswith("conv1d.wx_scale"))
    torch.save(state | {f"{conv}x_scale": 1e30, f"{conv}wx_scale": 1e30}, path)
    assert cli.main(["analyze", str(directory)]) == 2
    assert "the convolution's sums must stay" in capsys.readouterr().err


def test_an_archive_that_unpacks_to_more_than_itself_is_refused(copy_of):
    directory = copy_of("pickle")
    path = directory / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content + bytes(10**8 if name.endswith("data.pkl") else 0))
    assert path.stat().st_size < 10**6
    refused(directory, "its entries are compressed")


BOMBS = """
import json, resource, sys
from pathlib import Path
import torch
from dashboard.checkpoints import CheckpointError, load_backbone, load_checkpoint
from transformers.models.mamba2.modeling_mamba2 import Mamba2Model

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB

load_backbone(load_checkpoint(sys.argv[1]), "cpu")
before = most()
for directory in sys.argv[2:]:
    try:
        load_backbone(load_checkpoint(directory), "cpu")
    except CheckpointError:
        continue
    sys.exit(f"{directory} was loaded")
print((most() - before) // 1000)
"""


def test_memory_stays_within_the_files_whatever_they_claim(originals, tmp_path):
    def bomb(name: str, form: str, weights=None, **config) -> str:
        directory = tmp_path / name
        shutil.copytree(originals / form, directory)
        stored = json.loads((directory / "config.json").read_text()) | config
        (directory / "config.json").write_text(json.dumps(stored))
        if weights:
            path = directory / "pytorch_model.bin"
            torch.save(torch.load(path, weights_only=True) | weights, path)
        return str(directory)

    wide = torch.zeros(1).expand(2**30, 1, 4)
    bombs = [
        bomb("vocabulary", "safetensors", vocab_size=2**31 - 1),
        bomb("layers", "safetensors", num_hidden_layers=2**31 - 1),
        bomb("hybrid-layers", "hybrid", num_hidden_layers=2**31 - 1),
        bomb("mlp", "hybrid", intermediate_size=2**31 - 1),
        bomb("attention", "hybrid", num_attention_heads=2**20),
        bomb("expanded", "pickle", {CONV: wide}, num_heads=2**26, expand=2**25),
        bomb("quamba2", "quamba2", d_model=2**30),
        bomb("quamba2-layers", "quamba2", n_layer=2**31 - 1),
    ]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(originals / "safetensors"), *bombs],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=SAMPLES_DIR.parent,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150  # MB; each bomb asks for gigabytes


# --- anything at all ----------------------------------------------------------------------------

FILES = [
    ("safetensors", "model.safetensors"),
    ("safetensors", "config.json"),
    ("shards", "model.safetensors.index.json"),
    ("pickle", "pytorch_model.bin"),
    ("quamba2", "pytorch_model.bin"),
    ("quamba2", "config.json"),
]


@pytest.mark.parametrize(("form", "name"), FILES)
def test_a_file_with_mutated_bytes_loads_or_is_refused(form, name, originals, tmp_path):
    directory = tmp_path / form
    shutil.copytree(originals / form, directory)
    content = (directory / name).read_bytes()
    # The head of a file, and in an archive its tail, are where the structure is.
    at_head, at_tail = st.integers(0, min(4000, len(content) - 1)), st.integers(-3000, -1)
    place = st.one_of(at_head, at_tail, st.integers(0, len(content) - 1))
    change = st.tuples(place, st.integers(0, 255))

    @settings(seeded, max_examples=40)
    @given(
        changes=st.lists(change, min_size=1, max_size=4),
        cut=st.one_of(st.none(), st.integers(0, len(content))),
    )
    def check(changes, cut):
        mutated = bytearray(content)
        for at, byte in changes:
            if -len(mutated) <= at < len(mutated):
                mutated[at] = byte
        (directory / name).write_bytes(mutated[:cut])
        loads_or_tells(directory)

    check()


KEYS = sorted(
    {
        key
        for family in FAMILIES.values()
        for field in (family.expand, family.heads, family.groups, family.state)
        for key in [field and field[0], family.inner, family.head_dim, family.activation]
        if key
    }
    | {"hidden_size", "num_hidden_layers", "vocab_size", "d_model", "n_layer", "ssm_cfg"}
    | {"layers_block_type", "hybrid_override_pattern", "layer_types", "attn_layer_indices"}
    | {"chunk_size", "conv_kernel", "mamba_d_conv", "time_step_limit", "rope_parameters"}
    | {"auto_map", "_attn_implementation", "attn_implementation", "quantization_config", "dtype"}
    | set(CONFIGS["mamba2"].to_dict())
    | set(CONFIGS["bamba"].to_dict())
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 130)
    | st.integers(2**31 - 1, 2**70)
    | st.sampled_from([1024, 2**15, 2**16, 10**6])
    | st.floats()
    | st.sampled_from(["silu", "Mamba2", "auto", "float16", "someone/kernels", "<b>", "M*-E", ""]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("form", ["safetensors", "hybrid", "quamba2"])
def test_a_config_with_any_values_loads_or_is_refused(form, originals, tmp_path):
    directory = tmp_path / form
    shutil.copytree(originals / form, directory)
    config = json.loads((directory / "config.json").read_text())

    @settings(seeded, max_examples=60)
    @given(
        changed=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3),
        family=st.sampled_from([None, None, None, *FAMILIES]),
    )
    def check(changed, family):
        given_config = config | changed | ({"model_type": family} if family else {})
        (directory / "config.json").write_text(json.dumps(given_config))
        loads_or_tells(directory)

    check()


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a small calibration file."""
    path = tmp_path_factory.mktemp("counted") / "counts.safetensors"
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=2, seq_len=8)
    layers = checkpoint.layers[:2]
    save_calibration(path, calibrate(checkpoint, load_backbone(checkpoint), text, layers=layers))
    with safe_open(path, "numpy") as file:
        return load_arrays(path), file.metadata()


ARRAY_CHANGES = {
    "bfloat16": lambda a: torch.from_numpy(a.astype(np.float64)).to(torch.bfloat16),
    "float8": lambda a: torch.from_numpy(a.astype(np.float64)).to(torch.float8_e5m2),
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "uint64": lambda a: a.astype(np.uint64),
    "no dimension": lambda a: a.ravel()[:1].reshape(()),
    "no entry": lambda a: a[:0],
    "two dimensions": lambda a: a[None],
    "one less": lambda a: a[:-1],
    "twice": lambda a: np.concatenate([a, a]),
    "backwards": lambda a: a[::-1],
    "zeros": np.zeros_like,
    "ones": np.ones_like,
    "negative": lambda a: -a,
    "greatest": lambda a: np.full_like(a, greatest(a.dtype)),
    "all but wrapped": lambda a: np.where(np.arange(a.size) == 0, greatest(a.dtype), a),
    "infinite": lambda a: a * np.float64(np.inf),
    "no number": lambda a: (a * np.float64(np.nan)).astype(np.float16),
    "1e39": lambda a: np.full(a.shape, 1e39),
    "1e30": lambda a: np.full(a.shape, 1e30),
    "1e-45": lambda a: np.full(a.shape, 1e-45),
}  # fmt: skip
LAYERS = ["[]", "{}", "null", "[[0, []]]", '[["0", ["x", "B", "C"]]]', '[[0, ["x"]]]', "[[0, [1]]]",
          '[[0, ["x", "B", "C"]], [1, ["x"]]]', '[[0, ["x", "x"]]]', '[[NaN, ["x", "B", "C"]]]',
          '[[Infinity, ["x"]]]', '[[0, ["x", "B", "C"]]]', '[[1, ["x", "B", "C"], 2]]', "[" * 9999,
          '[[-1, ["x"]]]', '[[' + "9" * 5000 + ', ["x"]]]']  # fmt: skip
NUMBERS = ["0", "-1", "1", "3", "1e9", "inf", "nan", "", "[2]", "9" * 5000, "\u0662", "2.0", "4"]


def greatest(dtype: np.dtype) -> float:
    return np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max


def test_a_mutated_calibration_file_gives_plain_json_or_is_refused(counted, tmp_path, capsys):
    arrays, metadata = counted
    path = tmp_path / "mutated.safetensors"
    rules = (["minmax"], ["percentile-ema", "--recommend"], ["mse", "--asymmetric"], ["entropy"])

    def strict(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    def prefixes(piece: str) -> list[str]:
        return [name for name in arrays if piece in name]

    def changed(kind: str, array: np.ndarray) -> torch.Tensor:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = ARRAY_CHANGES[kind](array)
        return made if isinstance(made, torch.Tensor) else torch.from_numpy(made.copy())

    @settings(seeded, max_examples=150)
    @given(
        edits=st.dictionaries(
            st.sampled_from(sorted(arrays)) | st.sampled_from(["amax", "silu_output", ".counts"]),
            st.sampled_from(sorted(ARRAY_CHANGES)),
            max_size=2,
        ),
        entries=st.fixed_dictionaries(
            {},
            optional={
                "layers": st.sampled_from(LAYERS),
                "batches": st.sampled_from(NUMBERS),
                "seq_len": st.sampled_from(NUMBERS),
                "text": st.text(max_size=5),
            },
        ),
        rule=st.sampled_from(rules),
        form=st.sampled_from(["json", "csv", "table", "published"]),
    )
    def check(edits, entries, rule, form):
        mutated = {name: torch.from_numpy(array) for name, array in arrays.items()}
        for piece, kind in edits.items():
            mutated |= {name: changed(kind, arrays[name]) for name in prefixes(piece)}
        save_file(mutated, path, metadata | entries)
        status = cli.main(["analyze", str(path), "--observer", *rule, "--format", form])
        captured = capsys.readouterr()
        if status:
            assert status == 2 and captured.err.count("\n") == 1
        elif form == "json":
            json.loads(captured.out, parse_constant=strict)

    check()


def test_a_layer_without_error_or_signal_is_null_in_json(counted, tmp_path, capsys):
    arrays, metadata = counted
    silent = dict(arrays)
    for name in arrays:
        if name.endswith("silu_output.values"):
            total = arrays[name.replace("values", "counts")].astype(np.int64).sum()
            silent |= {name: np.zeros(1, np.float16), name.replace("values", "counts"): total[None]}
        elif name.endswith("batches.lengths"):
            stem, batches = name.removesuffix("lengths"), len(arrays[name])
            total = arrays[f"{stem}counts"].astype(np.int64).sum() // batches
            silent |= {
                name: np.ones(batches, np.int64),
                f"{stem}values": np.zeros(batches, np.float16),
                f"{stem}counts": np.full(batches, total),
            }
    path = tmp_path / "silent.safetensors"
    save_arrays(silent, path, metadata)
    assert cli.main(["analyze", str(path), "--format", "json", "--recommend"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [layer["sqnr_db"] for layer in document["layers"]] == [None, None]
    assert [layer["saturation_rate"] for layer in document["layers"]] == [0, 0]


@settings(seeded, max_examples=60)
@given(content=st.binary(max_size=400), name=st.sampled_from([n for _, n in FILES]))
def test_random_bytes_in_place_of_any_file_are_refused(content, name, originals, tmp_path):
    directory = tmp_path / "random"
    shutil.rmtree(directory, ignore_errors=True)
    form = next(form for form, other in FILES if other == name)
    shutil.copytree(originals / form, directory)
    (directory / name).write_bytes(content)
    loads_or_tells(directory)


@pytest.mark.parametrize("fault", ["config", "weights", "pickle", "nothing", "a layer too few"])
def test_the_command_line_tells_it_in_one_line_and_exits_with_2(fault, copy_of, capsys):
    directory = copy_of("pickle" if fault == "pickle" else "safetensors")
    if fault == "config":
        (directory / "config.json").write_text("{")
    elif fault == "weights":
        (directory / "model.safetensors").write_bytes(b"\xff" * 100)
    elif fault == "pickle":
        torch.save(Runs(os.system, "exit 3"), directory / "pytorch_model.bin")
    elif fault == "nothing":
        (directory / "model.safetensors").unlink()
    else:
        path = directory / "model.safetensors"
        save_file({k: v for k, v in load_file(path).items() if ".2." not in k}, path)
    assert cli.main(["analyze", str(directory)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dashboard: ") and captured.err.count("\n") == 1
    assert str(directory) in captured.err


def with_config(directory: Path, **changed) -> None:
    config = json.loads((directory / "config.json").read_text()) | changed
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("form", "changed", "shown"),
    [
        ("safetensors", {"model_type": "![x](http://host/x.png)"}, r"'!\[x\](http"),
        ("safetensors", {"num_heads": "<img src=x>"}, r"num\_heads is '\<img src=x\>'"),
        ("hybrid", {"output_hidden_states": 0.5}, "the model cannot be run"),
        ("pickle", {"num_hidden_layers": 10**9}, "it can be 65536 at most"),
    ],
)
def test_a_page_tells_it_as_plain_text_and_goes_on(form, changed, shown, copy_of):
    directory = copy_of(form)
    with_config(directory, **changed)
    app = opened("explore", batches="2", seq_len="64", checkpoint=str(directory))
    (error,) = app.error
    assert shown in error.value
    app.selectbox(key="checkpoint").set_value("mamba-tiny").run()
    assert not app.exception and not app.error
    assert app.metric

"""Both layouts are read into the same Checkpoint; what cannot be used is named in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from random_checkpoints import rewrite
from safetensors.torch import load_file, save_file
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from dashboard.checkpoints import (
    SAMPLES_DIR,
    Checkpoint,
    CheckpointError,
    load_backbone,
    load_checkpoint,
    sample_names,
)

CONV = "backbone.layers.1.mixer.conv1d.weight"


@pytest.fixture
def hugging_face(tmp_path) -> Path:
    """A small Mamba-1 with two layers as transformers saves it."""
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=256, hidden_size=16, num_hidden_layers=2, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def state_spaces(hugging_face, tmp_path) -> Path:
    """The same model as the state-spaces repository would store it."""
    directory = tmp_path / "ssm"
    directory.mkdir()
    state = load_file(hugging_face / "model.safetensors")
    renamed = {k.replace("embeddings.", "embedding."): v for k, v in state.items()}
    save_file(renamed, directory / "model.safetensors")
    config = {"d_model": 16, "n_layer": 2, "vocab_size": 256, "ssm_cfg": {"d_state": 4}}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def same_convs(one: Checkpoint, other: Checkpoint) -> bool:
    return all(
        torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)
        for a, b in zip(one.convs, other.convs, strict=True)
    )


def test_both_layouts_of_one_model_give_the_same_convolutions_and_forward(
    hugging_face, state_spaces
):
    first, second = load_checkpoint(str(hugging_face)), load_checkpoint(str(state_spaces))
    assert (first.family, first.layout) == ("mamba", "hugging-face")
    assert (second.family, second.layout) == ("mamba", "state-spaces")
    assert first.n_layers == second.n_layers == 2
    assert first.conv_dim == second.conv_dim == 32
    assert same_convs(first, second)
    tokens = torch.arange(24)[None]
    plain = MambaForCausalLM.from_pretrained(hugging_face).backbone
    expected = plain(tokens).last_hidden_state
    for checkpoint in (first, second):
        # One model, one code path: equal but for the order of float32 sums.
        torch.testing.assert_close(
            load_backbone(checkpoint, "cpu")(tokens).last_hidden_state, expected
        )


def test_mamba2_in_both_layouts_has_the_slices_x_b_and_c(tmp_path):
    config = Mamba2Config(
        vocab_size=256,
        hidden_size=16,
        num_hidden_layers=2,
        num_heads=4,
        head_dim=8,
        n_groups=2,
        state_size=4,
        chunk_size=8,
    )
    model = Mamba2ForCausalLM(config)
    model.save_pretrained(tmp_path / "hf")
    state = load_file(tmp_path / "hf" / "model.safetensors")
    (tmp_path / "ssm").mkdir()
    save_file(
        {k.replace("embeddings.", "embedding."): v for k, v in state.items()},
        tmp_path / "ssm" / "model.safetensors",
    )
    ssm = {"layer": "Mamba2", "headdim": 8, "ngroups": 2, "d_state": 4}
    (tmp_path / "ssm" / "config.json").write_text(
        json.dumps({"d_model": 16, "n_layer": 2, "vocab_size": 256, "ssm_cfg": ssm})
    )
    tokens = torch.arange(20)[None]
    expected = model.eval().backbone(tokens).last_hidden_state
    for name in ("hf", "ssm"):
        checkpoint = load_checkpoint(str(tmp_path / name))
        assert [(s.name, s.start, s.stop) for s in checkpoint.slices] == [
            ("x", 0, 32),
            ("B", 32, 40),
            ("C", 40, 48),
        ]
        assert checkpoint.conv_offset == 32
        hidden = load_backbone(checkpoint, "cpu")(tokens).last_hidden_state
        torch.testing.assert_close(hidden, expected)


def test_samples_are_found_by_name_smallest_first_and_cover_both_layouts():
    names = sample_names()
    trained = {"mamba-tiny", "mamba-small", "mamba2-tiny", "mamba2-small", "mamba2-dictionary"}
    assert set(names) == trained
    layouts = {name: load_checkpoint(name).layout for name in names}
    assert layouts["mamba-tiny"] == layouts["mamba-small"] == "state-spaces"
    assert layouts["mamba2-tiny"] == layouts["mamba2-small"] == "hugging-face"
    sizes = [(SAMPLES_DIR / n / "model.safetensors").stat().st_size for n in names]
    assert sizes == sorted(sizes)


def test_sharded_weights_and_a_plain_pickle_are_read_as_one_file_is(hugging_face, tmp_path):
    whole = load_checkpoint(str(hugging_face))
    state = load_file(hugging_face / "model.safetensors")

    sharded = tmp_path / "sharded"
    shutil.copytree(hugging_face, sharded)
    (sharded / "model.safetensors").unlink()
    names = sorted(state)
    shards = {n: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, n in enumerate(names)}
    for shard in set(shards.values()):
        save_file({n: state[n] for n in names if shards[n] == shard}, sharded / shard)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert same_convs(load_checkpoint(str(sharded)), whole)

    pickled = tmp_path / "pickled"
    shutil.copytree(hugging_face, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(state, pickled / "pytorch_model.bin")
    assert same_convs(load_checkpoint(str(pickled)), whole)
    load_backbone(load_checkpoint(str(pickled)))


def test_a_conv_without_bias_and_half_precision_weights_are_widened(hugging_face):
    def change(state):
        del state[CONV.replace("weight", "bias")]
        state[CONV] = state[CONV].to(torch.bfloat16)

    rewrite(hugging_face, change)
    conv = load_checkpoint(str(hugging_face)).convs[1]
    assert conv.weight.dtype == conv.bias.dtype == torch.float32
    assert torch.equal(conv.bias, torch.zeros(32))


def drop_conv(state):
    del state[CONV]


def misshape_conv(state):
    state[CONV] = torch.zeros(32, 1, 7)


def poison_conv(state):
    state[CONV][3, 0, 1] = float("nan")


def integer_conv(state):
    state[CONV] = state[CONV].to(torch.int8)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (drop_conv, r"has no tensor .*layers\.1\.mixer\.conv1d\.weight"),
        (misshape_conv, r"model\.safetensors: .*shape \(32, 1, 7\); expected \(32, 1, W\)"),
        (poison_conv, r"model\.safetensors: .*conv1d\.weight contains NaN"),
        (integer_conv, r"model\.safetensors: .*torch\.int8; float weights are needed"),
    ],
)
def test_a_bad_convolution_is_named(hugging_face, change, fault):
    rewrite(hugging_face, change)
    with pytest.raises(CheckpointError, match=fault):
        load_checkpoint(str(hugging_face))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", r"config\.json is not readable JSON"),
        ("[1]", r"config\.json holds a list"),
        ("\xff", r"model_type|not readable JSON"),
        (
            '{"model_type": "llama"}',
            r"model_type is 'llama'; allowed are mamba, falcon_mamba, mamba2, jamba",
        ),
        ('{"d_model": "big", "n_layer": 2, "vocab_size": 1}', r"d_model is 'big'"),
        ('{"d_model": 16, "n_layer": -1, "vocab_size": 1}', r"n_layer is -1"),
        ('{"d_model": 16, "n_layer": 2, "vocab_size": 1, "ssm_cfg": {"layer": "S4"}}', r"'S4'"),
        ('{"d_model": 16, "n_layer": 2, "vocab_size": 1, "ssm_cfg": 3}', r"ssm_cfg is 3"),
        (
            '{"d_model": 16, "n_layer": 2, "vocab_size": 1, "ssm_cfg": {"expand": "x"}}',
            r"expand is",
        ),
        (
            '{"d_model": 16, "n_layer": 2, "vocab_size": 1, "pad_vocab_size_multiple": 0}',
            r"pad_vocab_size_multiple is 0",
        ),
        (
            '{"model_type": "mamba2", "hidden_size": 16, "num_hidden_layers": 2, '
            '"vocab_size": 256, "n_groups": [1]}',
            r"n_groups is \[1\]",
        ),
    ],
)
def test_a_bad_config_is_named(hugging_face, text, fault):
    (hugging_face / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=fault):
        load_checkpoint(str(hugging_face))


def test_truncated_weights_are_named(hugging_face):
    path = hugging_face / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable safetensors"):
        load_checkpoint(str(hugging_face))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(hugging_face, tmp_path):
    witness = tmp_path / "witness"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (witness,))

    (hugging_face / "model.safetensors").unlink()
    pickled = hugging_face / "pytorch_model.bin"
    torch.save({"x": Hostile()}, pickled)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read as plain"):
        load_checkpoint(str(hugging_face))
    assert not witness.exists()
    torch.load(pickled, weights_only=False)
    assert witness.exists()  # the file is what it is feared to be


def test_a_shard_outside_the_checkpoint_is_refused(hugging_face):
    (hugging_face / "model.safetensors").rename(hugging_face.parent / "outside.safetensors")
    index = {"weight_map": {CONV: "../outside.safetensors"}}
    (hugging_face / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(str(hugging_face))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("no such thing", "is neither a directory, nor a Hub id"),
        ("", "is neither a directory|config.json does not exist"),
        (__file__, "is a file; give the directory"),
        (str(Path(__file__).parent), r"config\.json does not exist"),
    ],
)
def test_what_is_no_checkpoint_is_named(source, fault):
    with pytest.raises(CheckpointError, match=fault):
        load_checkpoint(source)


def test_a_hub_id_that_cannot_be_fetched_is_one_sentence(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no route to the Hub\nand a second line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        CheckpointError, match="could not be fetched from the Hub: no route"
    ) as error:
        load_checkpoint("someone/some-model")
    assert "\n" not in str(error.value)


def test_a_hub_id_is_read_from_where_it_was_fetched_to(monkeypatch, hugging_face):
    fetched = []

    def fetch(hub_id, **_kwargs):
        fetched.append(hub_id)
        return hugging_face

    monkeypatch.setattr("dashboard.checkpoints.loading.fetch", fetch)
    assert load_checkpoint("someone/some-model").n_layers == 2
    assert fetched == ["someone/some-model"]


def test_a_state_dict_that_does_not_fit_the_config_is_named(hugging_face):
    rewrite(hugging_face, lambda state: state.pop("backbone.layers.0.mixer.D"))
    with pytest.raises(CheckpointError, match="does not fit its config"):
        load_backbone(load_checkpoint(str(hugging_face)))

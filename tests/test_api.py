"""The Python API: a model in memory is as good as a path, and what it says when it is not."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import requantize, values_of
from random_checkpoints import CONFIGS, save_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from dashboard import cli
from dashboard.analysis.report import ScaleReport
from dashboard.api import Calibration, CalibrationError, CheckpointError, compare
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.checkpoints.in_memory import read_model
from dashboard.formats import REGISTERED
from dashboard.refusals import Refusal
from dashboard.rules import landscape

SIZE = dict(batches=2, seq_len=19)


@pytest.fixture(scope="module")
def small() -> Calibration:
    return Calibration.of("mamba2-tiny", **SIZE)


def arrays(calibration: Calibration, directory) -> dict[str, np.ndarray]:
    """All that is counted, as plain numpy reads it from the file."""
    path = directory / "counts.safetensors"
    calibration.save(path)
    return load_file(path)


def assert_equal(one: Calibration, other: Calibration, directory) -> None:
    a, b = arrays(one, directory), arrays(other, directory)
    assert a.keys() == b.keys() and len(a) > 0
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
def test_a_sample_in_memory_gives_the_numbers_of_the_sample_on_disk_to_the_bit(name, tmp_path):
    model = load_backbone(load_checkpoint(name), "cpu")
    assert_equal(Calibration.of(model, **SIZE), Calibration.of(name, **SIZE), tmp_path)


@pytest.mark.parametrize("family", CONFIGS)
def test_each_family_with_its_head_in_memory_gives_the_numbers_of_its_files(family, tmp_path):
    model = save_model(family, tmp_path / "model")
    on_disk = Calibration.of(tmp_path / "model", **SIZE)
    assert_equal(Calibration.of(model, **SIZE), on_disk, tmp_path)
    assert_equal(Calibration.of(model.base_model, **SIZE), on_disk, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_memory_is_widened_as_from_disk_and_given_back(dtype, tmp_path):
    model = save_model("mamba2", tmp_path / "float32").to(dtype)
    model.base_model.layers[1].mixer.A_log.data = model.base_model.layers[1].mixer.A_log.float()
    model.save_pretrained(tmp_path / "half")
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    in_memory = Calibration.of(model, **SIZE)
    assert {name: tensor.dtype for name, tensor in model.state_dict().items()} == dtypes
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == places
    assert_equal(in_memory, Calibration.of(tmp_path / "half", **SIZE), tmp_path)


def hooks_of(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("ends", ["whole", "stopped", "not finite"])
def test_a_model_is_given_back_as_it_was_whatever_happens(ends):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["bamba"]).bfloat16().train()
    model.base_model.layers[0].eval()  # frozen, while the rest learns
    if ends == "not finite":
        model.base_model.layers[2].mamba.in_proj.weight.data[:] = float("nan")
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = torch.arange(38).view(2, 19)

    def stop(progress):
        assert not any(module.training for module in model.base_model.modules())
        if ends == "stopped" and progress.batch == 1:
            raise KeyboardInterrupt

    if ends == "whole":
        Calibration.of(model, ids, on_progress=stop)
    else:
        with pytest.raises(KeyboardInterrupt if ends == "stopped" else CalibrationError):
            Calibration.of(model, ids, on_progress=stop)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert hooks_of(model) == 0
    for name, tensor in model.state_dict().items():
        assert (
            tensor.dtype == before[name].dtype == torch.bfloat16
            or not before[name].is_floating_point()
        )
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name


def test_a_hook_is_removed_where_a_later_layer_has_no_mixer():
    model = load_backbone(load_checkpoint("mamba-tiny"), "cpu")
    model.config.num_hidden_layers = 4
    del model.layers[3].mixer.in_proj
    with pytest.raises(CalibrationError, match="cannot be run"):
        Calibration.of(model, **SIZE)
    assert hooks_of(model) == 0


def test_training_goes_on_after_a_calibration_as_if_there_had_been_none():
    def trained(calibrating: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS["mamba"]).bfloat16().train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        ids = torch.arange(16)[None]
        for step in range(2):
            loss = model(ids, labels=ids).loss
            if calibrating and step:
                Calibration.of(model, ids)  # between a forward and its backward
            loss.backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    for one, other in zip(trained(True), trained(False), strict=True):
        assert torch.equal(one, other)


def test_what_is_read_of_a_model_stays_when_the_model_changes():
    model = load_backbone(load_checkpoint("mamba-tiny"), "cpu")
    conv = read_model(model).conv(1)
    weight, bias = conv.weight.clone(), conv.bias.clone()
    model.layers[1].mixer.conv1d.weight.mul_(3)
    model.layers[1].mixer.conv1d.bias.add_(1)
    assert torch.equal(conv.weight, weight) and torch.equal(conv.bias, bias)


def test_token_ids_the_text_itself_its_file_and_a_tokenizer_are_one_text(tmp_path):
    words = "naïve\n" * 8
    path = tmp_path / "words.txt"
    path.write_text(words, encoding="utf-8")
    ids = torch.tensor(list(words.encode()))[:38].view(2, 19)
    asked: list[str] = []

    def tokenizer(text: str) -> dict:
        asked.append(text)
        return {"input_ids": list(text.encode())}

    whole = Calibration.of("mamba-tiny", path, **SIZE)
    assert whole.origin.text == "words.txt"
    assert_equal(Calibration.of("mamba-tiny", str(path), **SIZE), whole, tmp_path)
    assert_equal(Calibration.of("mamba-tiny", words, **SIZE), whole, tmp_path)
    for dtype in (torch.int64, torch.uint8, torch.int32):
        assert_equal(Calibration.of("mamba-tiny", ids.to(dtype)), whole, tmp_path)
    model = load_backbone(load_checkpoint("mamba-tiny"), "cpu")
    assert_equal(Calibration.of(model, words, **SIZE, tokenizer=tokenizer), whole, tmp_path)
    assert asked == [words]


def test_the_hash_of_a_text_is_that_of_its_bytes_and_of_ids_that_of_int64():
    import hashlib

    words = "a line\n" * 9
    ids = torch.arange(38).view(2, 19)
    origin = Calibration.of("mamba-tiny", words, **SIZE).origin
    assert origin.text_sha256 == hashlib.sha256(words.encode()).hexdigest()
    origin = Calibration.of("mamba-tiny", ids.to(torch.int16)).origin
    assert (origin.text, origin.batches, origin.seq_len) == ("token ids", 2, 19)
    assert origin.text_sha256 == hashlib.sha256(np.arange(38, dtype="<i8").tobytes()).hexdigest()


def test_a_path_is_a_file_even_where_a_text_of_the_project_has_its_name(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    Path("calibration.txt").write_text("x" * 38)
    assert Calibration.of("mamba-tiny", Path("calibration.txt"), **SIZE).layer(0).record
    with pytest.raises(CalibrationError, match="38 tokens"):
        Calibration.of("mamba-tiny", Path("calibration.txt"), batches=3, seq_len=19)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (torch.zeros(19, dtype=torch.int64), {}, r"shape \(19,\); they must be \(N, L\)"),
        (torch.zeros(0, 19, dtype=torch.int64), {}, r"shape \(0, 19\)"),
        (torch.zeros(2, 19), {}, r"are torch\.float32; they must be whole numbers"),
        (torch.full((2, 19), 256), {}, "go from 256 to 256; the model's vocabulary has 256"),
        (torch.full((2, 19), -1), {}, "go from -1 to -1"),
        (torch.zeros(2, 19, dtype=torch.int64), {"batches": 3}, r"3 batches of 512 .*\(2, 19\)"),
        ([[1, 2]], {}, "text is a list; allowed are"),
        ("nothing.txt", {}, r"nothing\.txt cannot be read"),
        ("too short\n", {}, "the text has 10 tokens; 16 batches of 512 need 8,192"),
        ("\udc80\n", {}, "the text is not UTF-8"),
        ("calibration.txt", {"batches": 2.0}, "batches is 2.0; it must be a whole number"),
        ("calibration.txt", {"seq_len": 0}, "16 batches of 0 tokens .* at least 1"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_with_what_is_allowed(text, options, message):
    with pytest.raises(CalibrationError, match=message):
        Calibration.of("mamba-tiny", text, **options)


def test_a_model_that_cannot_be_used_is_refused_with_what_is_allowed(tmp_path):
    sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=256, **sizes))
    with pytest.raises(CheckpointError, match="'llama'; allowed are mamba, falcon_mamba, mamba2"):
        Calibration.of(llama)
    with pytest.raises(CheckpointError, match="model is a Linear; allowed are a checkpoint's name"):
        Calibration.of(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="neither a directory, nor a Hub id"):
        Calibration.of("no-such-sample")
    with torch.device("meta"):
        nowhere = AutoModelForCausalLM.from_config(CONFIGS["mamba"])
    with pytest.raises(
        CheckpointError, match=r"on the meta device, as embeddings.*load the weights"
    ):
        Calibration.of(nowhere)
    model = load_backbone(load_checkpoint("mamba-tiny"), "cpu")
    model.config.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(CheckpointError, match="quantization_config says that its weights are"):
        Calibration.of(model)


def test_a_model_in_memory_with_another_vocabulary_asks_for_its_tokenizer():
    config = type(CONFIGS["mamba"])(vocab_size=300, hidden_size=32, num_hidden_layers=1)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(CheckpointError, match=r"vocabulary of 300 .* tokenizer=…, or token ids"):
        Calibration.of(model, **SIZE)
    with pytest.raises(CheckpointError, match="gives token 300; the model's vocabulary has 300"):
        Calibration.of(model, **SIZE, tokenizer=lambda text: {"input_ids": [300] * 38})
    with pytest.raises(CheckpointError, match="has a tokenizer that cannot be used"):
        Calibration.of(model, **SIZE, tokenizer=lambda text: None)


def test_a_scale_is_the_rule_of_the_definitions_and_every_measure_a_plain_number(small):
    layer = small.layer(2).slice("B")
    y = layer.counted.silu_output
    values = values_of(y)
    scale = layer.scale("percentile", alpha=0.99)
    assert isinstance(scale, ScaleReport)
    wanted = np.quantile(np.abs(values), np.float32(0.99)) / 127
    assert scale.x_out_scale == pytest.approx(wanted, rel=1e-6)
    plain = requantize(values, scale.x_out_scale)
    assert scale.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-6)
    assert scale.saturation_rate == plain.saturation_rate
    assert scale.code_utilization == len(plain.code_shares) / 256
    assert scale.top_code_utilization == np.abs(plain.codes).max().clip(max=127) / 127
    assert scale.effective_bits == pytest.approx(plain.effective_bits, abs=1e-9)
    total = scale.rounding_mse + scale.clipping_mse
    assert total == pytest.approx(plain.noise / len(values), rel=1e-9)
    for name in ("sqnr_db", "saturation_rate", "effective_bits", "code_utilization"):
        assert type(getattr(scale, name)) is float
    assert layer.scale("minmax", asymmetric=True).top_code_utilization is None


def test_the_best_of_a_landscape_is_what_its_scale_gives(small):
    for asymmetric in (False, True):
        curve = small.layer(1).landscape(asymmetric=asymmetric)
        assert isinstance(curve, landscape.Landscape)
        best = small.layer(1).scale(alpha=curve.best_alpha, asymmetric=asymmetric)
        assert best.sqnr_db == curve.best_db == curve.sqnr_db.max()


def test_the_recommendation_knows_every_layer_and_slice(small):
    recommended = small.recommend()
    assert [(entry.layer, entry.slice) for entry in recommended.layers] == [
        (layer.number, name) for layer in small.layers for name in ("x", "B", "C")
    ]
    losses = [
        layer.slice(name).landscape().best_db
        - layer.slice(name).scale(alpha=recommended.alpha).sqnr_db
        for layer in small.layers
        for name in layer.slices
    ]
    assert recommended.mean_loss_db(recommended.alpha) == pytest.approx(np.mean(losses))


def test_a_table_has_a_row_a_layer_and_slice_under_the_names_of_the_measures(small):
    rows = small.table("mse")
    assert len(rows) == 3 * len(small.layers)
    for row in rows:
        scale = small.layer(row["layer"]).slice(row["slice"]).scale("mse")
        for name in ("x_out_scale", "sqnr_db", "saturation_rate", "effective_bits"):
            assert row[name] == getattr(scale, name)


def test_what_was_saved_is_loaded_and_a_path_leaves_its_fingerprint(small, tmp_path):
    from dashboard.calibration.archive import fingerprint

    path = tmp_path / "counts.safetensors"
    small.save(path)
    loaded = Calibration.load(path)
    assert loaded.origin == replace(
        small.origin, fingerprint=fingerprint(load_checkpoint("mamba2-tiny"))
    )
    assert_equal(small, loaded, tmp_path)
    assert loaded.table("mse") == small.table("mse")
    Calibration.of(load_backbone(load_checkpoint("mamba-tiny"), "cpu"), **SIZE).save(path)
    assert Calibration.load(path).origin.fingerprint == ""
    assert Calibration.load(path).origin.checkpoint == "MambaModel in memory"
    with pytest.raises(CheckpointError, match=r"Calibration\.load opens such files"):
        Calibration.of(path)
    with pytest.raises(CalibrationError, match=r"ends in \.safetensors"):
        small.save(tmp_path / "counts.bin")
    with pytest.raises(CalibrationError, match="cannot be read"):
        Calibration.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda c: c.layer(9), "layer is 9; mamba2-tiny has the Mamba layers 0, 1, 2, 3"),
        (lambda c: c.layer("4"), "layer is '4'"),
        (lambda c: c.layer(0).slice("D"), "slice is 'D'; layer 0 has 'x', 'B', 'C'"),
        (lambda c: c.layer(0).scale("percentil"), "'percentil'; allowed are percentile,"),
        (lambda c: c.layer(0).scale(alpha=99.95), "alpha is 99.95; .* 0 < alpha <= 1"),
        (lambda c: c.layer(0).scale(alpha="0.9"), "alpha is '0.9'; it must be a number"),
        (lambda c: c.layer(0).scale(alpha=float("nan")), "alpha is nan; it must be a number"),
        (lambda c: c.layer(0).scale("entropy", asymmetric=True), "asymmetric are percentile"),
        (lambda c: c.table("nothing"), "'nothing'; allowed are percentile,"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(small, asked, message):
    with pytest.raises(ValueError, match=message):
        asked(small)


def test_every_record_and_figure_shows_itself(small, monkeypatch):
    """A notebook asks a record to display itself, and a figure; here is what it is given."""
    layer = small.layer(0)
    scale, landscape = layer.scale("mse", asymmetric=True), layer.landscape()
    shown = []
    notebook = SimpleNamespace(HTML=lambda html: ("HTML", html), display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=notebook))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    for record in (scale, landscape):
        record._ipython_display_()
        words, figure = shown.pop(0), shown.pop(0)
        assert words == ("HTML", record._repr_html_()) and "<script" not in words[1]
        assert figure.to_json() == record.figure().to_json() and len(figure.data) > 3
    assert layer.landscape(asymmetric=True).figure().layout.meta["alt"]
    assert f"{scale.sqnr_db:.2f} dB" in scale._repr_html_()
    assert small._repr_html_().count("<tr>") == small.recommend()._repr_html_().count("<tr>") == 13
    for record in (small, layer, scale, landscape, small.recommend()):
        assert repr(record).startswith("<") and len(repr(record)) < 160
    assert "mamba2-tiny" in repr(small) and "2 × 19 tokens" in repr(small)


def test_a_name_from_a_file_is_text_in_html_and_no_markup(small, tmp_path):
    origin = replace(small.origin, checkpoint="<img src=x onerror=alert(1)>")
    named = replace(small, record=replace(small.record, origin=origin))
    assert "<img" not in named._repr_html_()


# A budget


def test_a_budget_is_the_command_lines(capsys, tmp_path):
    tiny = Calibration.of("mamba2-tiny", batches=2, seq_len=40, gradients=True)
    quick = ["--batches", "2", "--seq-len", "40", "--on-batches", "3"]
    for nats in (0.0004, 0.01):
        arguments = ["impact", "mamba2-tiny", *quick, "--budget", str(nats), "--format", "json"]
        assert cli.main(arguments) in (0, 1)
        expected = json.loads(capsys.readouterr().out)
        plan = tiny.budget(nats, on_batches=3)
        plan.save(tmp_path / "plan.json")
        saved = json.loads((tmp_path / "plan.json").read_text())
        (setting,) = expected["settings"]
        assert saved.pop("measured")["kl_nats"] == setting["kl_nats"] == plan.impact.kl_nats
        assert saved == expected["budget"]
        assert plan.is_kept == (setting["kl_nats"] <= nats)
        assert repr(plan)[1:-1] == expected["reason"]
        rows = plan.table()
        assert [(row["layer"], row["slice"]) for row in rows] == [
            (layer, name) for layer in range(4) for name in ("x", "B", "C")
        ]
    assert {row["kind"] for row in rows} == {"tensor"}
    plan.save(tmp_path / "scales.bin")
    assert len(torch.load(tmp_path / "scales.bin", weights_only=True)) == 4 * 3 * 2
    with pytest.raises(ValueError, match=r"give a file that ends in \.json or \.bin"):
        plan.save(tmp_path / "scales.txt")


def test_a_calibration_from_a_file_plans_one_scale_a_slice(tmp_path):
    made = Calibration.of("mamba2-tiny", batches=2, seq_len=40, gradients=True)
    made.save(tmp_path / "counts.safetensors")
    loaded = replace(Calibration.load(tmp_path / "counts.safetensors"), checkpoint=made.checkpoint)
    plan = loaded.budget(0.0001, layers=[1], on="out-of-domain.txt", on_batches=2)
    assert [option.layer for option in plan.plan.options] == [1]
    assert {row["kind"] for row in plan.table()} <= {"tensor", "asymmetric"}
    same = made.budget(
        0.0001, layers=[1], on="out-of-domain.txt", on_batches=2, kinds=("tensor", "asymmetric")
    )
    assert same.table() == plan.table()
    with pytest.raises(ValueError, match="groups and channels need: allowed kinds are tensor, asy"):
        loaded.budget(0.0001, kinds=("groups",), on="out-of-domain.txt")
    with pytest.raises(ValueError, match="budget_nats is -1; it must be above 0"):
        made.budget(-1)
    with pytest.raises(ValueError, match="has no counted gradients"):
        Calibration.of("mamba2-tiny", batches=1, seq_len=40).budget(1, kinds=("tensor",))


def test_stored_scales_are_measured_as_the_command_measures_them(capsys):
    small = Calibration.of("mamba2-small", batches=1, seq_len=24)
    quick = ["--seq-len", "24", "--batches", "1", "--on-batches", "1", "--format", "json"]
    source = ["mamba2-small", "--scales", "mamba2-small-quamba2"]
    assert cli.main(["impact", *source, *quick]) == 0
    (setting,) = json.loads(capsys.readouterr().out)["settings"]
    impact = small.impact(stored="mamba2-small-quamba2", on_batches=1)
    assert impact.kl_nats == setting["kl_nats"]
    assert repr(impact).startswith("<stored scales, INT8 output in layers 0–5")
    with pytest.raises(ValueError, match="mamba2-tiny stores no scales"):
        small.impact(stored="mamba2-tiny")


def test_every_format_of_a_layer_is_there_with_the_cli_and_pages_numbers(small, capsys):
    layer = small.layer(1)
    formats = layer.formats()
    assert [own.name for own in formats] == list(REGISTERED) and len(formats) == 26
    wanted = ["analyze", "mamba2-tiny", "--batches", "2", "--seq-len", "19", "--layers", "1"]
    for name in ("int5", "fp8-e5m2", "int6-asymmetric", "optimal4"):
        more = ["--number-format", name, "--format", "json", "--observer", "minmax"]
        assert cli.main([*wanted, *more]) == 0
        (known,) = json.loads(capsys.readouterr().out)["layers"]
        best, ruled = formats[name], layer.format(name, "minmax")
        assert best.sqnr_db == pytest.approx(known["best_sqnr_db"], abs=1e-9)
        assert (best.scale, best.bits_needed) == (known["best_scale"], known["bits_needed"])
        for measure in ("sqnr_db", "saturation_rate", "code_utilization", "effective_bits"):
            assert getattr(ruled, measure) == known[measure]
        assert best.codes_used == round(best.code_utilization * best.points)
        (row,) = [row for row in formats.table() if row["number_format"] == name]
        assert row["sqnr_db"] == best.sqnr_db
    best = formats.best_within(4)
    assert best.bits_needed <= 4 and best.number_format.family != "optimal"
    assert formats.best_within(3) is None
    assert len(formats.figure().data) > 0 < len(best.figure().data)
    assert formats._repr_html_().count("<tr>") == 27
    assert "<td>int5</td>" in formats._repr_html_()
    assert layer.slice("B").format("nf4").sqnr_db != formats["nf4"].sqnr_db


def test_a_table_and_columns_take_a_format(small):
    rows = small.table("minmax", number_format="int4")
    assert [(row["layer"], row["slice"]) for row in rows[:4]] == [
        (0, "x"), (0, "B"), (0, "C"), (1, "x"),
    ]  # fmt: skip
    y = torch.from_numpy(values_of(small.layer(0).counted.silu_output)).double()
    scale = float(np.float32(y.abs().max()) / np.float32(7))
    code = (torch.sign(y) * torch.floor((y / scale).abs() + 0.5)).clamp(-8, 7)
    error = float(((code * scale - y) ** 2).sum())
    expected = 10 * np.log10(float((y**2).sum()) / error)
    assert rows[0]["sqnr_db"] == pytest.approx(expected, abs=1e-4)
    assert rows[0]["x_out_scale"] == scale and rows[0]["points"] == 16
    plain = small.table("minmax", asymmetric=True)
    assert small.table("minmax", number_format="int8-asymmetric") == plain

    columns = small.column("minmax"), small.column("minmax", number_format="int4")
    compared = [row for row in compare(*columns) if row["layer"] == 0]
    by_name = {(row["quantity"], row["number_format"]): row for row in compared}
    assert by_name["sqnr_db", "int4"]["value"] == rows[0]["sqnr_db"]
    assert by_name["x_out_scale", "int4"]["relative_difference"] is None
    assert by_name["w_scale", "int4"]["relative_difference"] == 0
    labels = {row["column"] for row in compared}
    assert labels == {"mamba2-tiny, MinMax, SiLU output", "mamba2-tiny, INT4, MinMax, SiLU output"}


def test_impact_in_a_format_is_the_command_lines(tmp_path, capsys):
    own = Calibration.of("mamba-tiny", batches=2, seq_len=64)
    measured = own.impact("minmax", number_format="fp4-e2m1", on_batches=2, keep=False)
    wanted = ["impact", "mamba-tiny", "--batches", "2", "--seq-len", "64", "--on-batches", "2"]
    more = ["--observer", "minmax", "--number-format", "fp4-e2m1", "--no-store"]
    assert cli.main([*wanted, *more, "--format", "json"]) == 0
    (setting,) = json.loads(capsys.readouterr().out)["settings"]
    assert measured.kl_nats == pytest.approx(setting["kl_nats"], rel=1e-9)
    assert "FP4 E2M1 output in layers" in repr(measured)


@pytest.mark.parametrize(
    ("ask", "fault"),
    [
        (lambda own: own.layer(0).format("int9"), "number format is 'int9'; allowed are int8, "),
        (lambda own: own.layer(0).formats()["int9"], "number format is 'int9'"),
        (lambda own: own.table(number_format="int9"), "number format is 'int9'"),
        (lambda own: own.layer(0).formats(by="kl"), "by is 'kl'; allowed are sqnr_db, predicted"),
        (lambda own: own.layer(0).formats(by="predicted_nats"), "predicted_nats needs gradients"),
        (
            lambda own: own.table(number_format="int4", asymmetric=True),
            "asymmetric is for number_format int8, not for 'int4'; formats with a zero point are "
            "int8-asymmetric, ",
        ),
        (
            lambda own: own.layer(0).format("int4-asymmetric", "entropy"),
            "entropy is defined for symmetric INT8 alone",
        ),
        (
            lambda own: own.impact(number_format="nf4", stored="mamba2-small-quamba2"),
            "number_format is 'nf4'; scales that a checkpoint stores are int8",
        ),
    ],
)
def test_what_cannot_be_of_a_format_is_one_sentence(small, ask, fault):
    with pytest.raises(Refusal) as caught:
        ask(small)
    assert fault in str(caught.value)

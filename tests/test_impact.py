"""What quantized layers cost: against a forward of this test's own, and by hand."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import codes_by_hand, half_away
from plain_forward import PlainModel, loss
from random_checkpoints import CONFIGS, save_model

from dashboard import cli
from dashboard.analysis.impact import (
    Estimate,
    Impact,
    ImpactProgress,
    alone,
    compare_logits,
    cumulative,
    float_run,
    impact_key,
    kl_difference,
    measure,
    spearman,
    study,
    study_rule,
)
from dashboard.analysis.prediction import (
    check_calibrated_on,
    plan_layers,
    predict_groups,
    stored_quantizations,
)
from dashboard.analysis.quantized_forward import (
    MODES,
    SliceQuantization,
    quantize_layer,
    quantized_outputs,
)
from dashboard.analysis.result_store import ResultStore
from dashboard.calibration import CalibrationError, calibrate, read_text
from dashboard.checkpoints import (
    SAMPLES_DIR,
    backbone_of,
    load_checkpoint,
    load_language_model,
)
from dashboard.rules.channels import channel_gradients
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH

SEQ_LEN, WINDOWS = 40, 3


class Loaded:
    """A sample, calibrated on two short batches, with the float model's run on other windows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checkpoint = load_checkpoint(name)
        self.model = load_language_model(self.checkpoint, "cpu")
        text = read_text(self.checkpoint, batches=2, seq_len=SEQ_LEN)
        self.calibration = calibrate(
            self.checkpoint, self.model, text, gradients=True, keep=self.checkpoint.layers
        )
        self.held_out = read_text(self.checkpoint, batches=WINDOWS, seq_len=SEQ_LEN, first=2)
        self.run = float_run(self.checkpoint, self.model, self.held_out)

    def plan(self, rule: ScaleRule, names=None, group_size=None):
        return plan_layers(self.checkpoint, self.calibration, rule, names, group_size)

    def measure(self, planned, mode: str = "output", **options) -> Impact:
        layers = [entry.quantization for entry in planned.values()]
        return measure(self.checkpoint, self.model, self.run, layers, mode, **options)


@pytest.fixture(scope="module")
def samples():
    return {name: Loaded(name) for name in ("mamba-tiny", "mamba2-tiny")}


each_sample = pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
RULES = {
    "percentile": ScaleRule("percentile", 0.99),
    "asymmetric": ScaleRule("minmax", symmetric=False),
}


def expected_change(loaded: Loaded, planned, mode: str, inputs: dict):
    """By hand, in numpy: what each layer's y becomes. ``inputs``: (layer) -> conv input (D, L)."""

    def change(layer, y):
        y = y.float().clone()
        if layer not in planned:
            return y.double()
        conv = loaded.checkpoint.conv(layer)
        for entry in planned[layer].quantization.slices:
            span = entry.conv_slice.channels
            step = torch.from_numpy(np.atleast_1d(entry.scale_out))[:, None]
            values = y[span]
            if mode != "output":
                scales = entry.scales
                x = inputs[layer][None, span].float()

                def codes(t, scale):
                    whole = half_away(t.numpy() / np.float32(scale)).clip(-128, 127)
                    return torch.from_numpy(whole.astype(np.int8))

                x_q, w_q = codes(x, scales.x_scale), codes(conv.weight[span], scales.w_scale)
                b_q = codes(conv.bias[span], scales.b_scale)
                acc = torch.nn.functional.conv1d(
                    torch.nn.functional.pad(x_q.double(), (w_q.shape[1] - 1, 0)),
                    w_q.double()[:, None],
                    groups=len(w_q),
                )[0]
                v = np.float32(scales.w_scale) * np.float32(scales.x_scale) * acc.float()
                v = v + b_q.float()[:, None] * np.float32(scales.b_scale)
                values = v / (1 + torch.exp(-v.double()).float())
                if mode == "both" and entry.zero_point == 0:
                    written = codes_by_hand(
                        x_q,
                        w_q,
                        b_q,
                        scale_x=scales.x_scale,
                        scale_w=scales.w_scale,
                        scale_b=scales.b_scale,
                        scale_out=step[:, 0],
                    )
                    y[span] = torch.from_numpy(written[0].astype(np.float32)) * step
                    continue
            if mode != "input":
                whole = half_away((values / step).numpy()) + entry.zero_point
                codes_out = whole.clip(-128, 127) - entry.zero_point
                values = torch.from_numpy(codes_out.astype(np.float32)) * step
            y[span] = values
        return y.double()

    return change


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rule", RULES)
@each_sample
def test_a_measurement_is_that_of_a_plain_forward(name, rule, mode, samples):
    """Every layer quantized, in each mode, in the model of the papers' formulas."""
    loaded = samples[name]
    planned = loaded.plan(RULES[rule])
    measured = loaded.measure(planned, mode)
    plain = PlainModel(SAMPLES_DIR / name)
    kl, delta, same = [], [], []
    for ids in loaded.held_out.tokens:
        inputs = {}
        change = expected_change(loaded, planned, mode, inputs)
        ours = plain.logits(ids)
        theirs = plain_with_inputs(plain, ids, change, inputs)
        p, q = (torch.log_softmax(x[:-1], -1) for x in (ours, theirs))
        kl.append((p.exp() * (p - q)).sum(-1))
        delta.append((p - q).gather(1, ids[1:, None])[:, 0])
        same.append(p.argmax(-1) == q.argmax(-1))
    kl, delta, same = (torch.stack(rows).numpy() for rows in (kl, delta, same))
    # float32 against float64: a y near a rounding tie gets another code now and then, which moves
    # a token's KL by some percent of itself.
    assert measured.kl_nats.mean == pytest.approx(kl.mean(), rel=0.05, abs=1e-7)
    assert measured.delta_nats.mean == pytest.approx(delta.mean(), abs=0.05 * np.abs(delta).mean())
    assert np.median(np.abs(measured.kl - kl)) < 0.02 * np.median(kl)
    assert (measured.same == same).mean() > 0.97
    windows = kl.mean(1)
    error = windows.std(ddof=1) / math.sqrt(WINDOWS)
    assert measured.kl_nats.error == pytest.approx(error, rel=0.2)
    assert kl.mean() > 1e-5  # something was quantized


def plain_with_inputs(plain: PlainModel, ids, change, inputs):
    """The plain model, noting each layer's conv input on the way: in_proj's own product."""
    noted = []

    def mixer(own, u, changed, method):
        projected = u @ own["in_proj.weight"].T
        inner = own["out_proj.weight"].shape[1]
        first = inner if plain.is_mamba2 else 0
        inputs[len(noted)] = projected[:, first : first + len(own["conv1d.bias"])].T
        noted.append(1)
        return method(own, u, changed)

    watched = PlainModel.__new__(PlainModel)
    watched.__dict__ = dict(plain.__dict__)
    for kind in ("mamba1", "mamba2"):
        method = getattr(plain, kind)
        setattr(
            watched, kind, lambda own, u, changed, method=method: mixer(own, u, changed, method)
        )
    return watched.logits(ids, change)


@each_sample
def test_the_float_models_loss_is_that_of_a_plain_forward(name, samples):
    loaded = samples[name]
    plain = PlainModel(SAMPLES_DIR / name)
    expected = [
        float(loss(plain.logits(ids), ids)) / (SEQ_LEN - 1) for ids in loaded.held_out.tokens
    ]
    measured = loaded.run.loss_nats
    assert measured.mean == pytest.approx(np.mean(expected), rel=1e-5)
    assert measured.error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(WINDOWS), rel=1e-4)


@each_sample
def test_a_prediction_is_half_the_squared_gradients_times_the_squared_errors(name, samples):
    """Each place of y by itself, with the plain model's gradients."""
    loaded = samples[name]
    planned = loaded.plan(ScaleRule("percentile", 0.99))
    plain = PlainModel(SAMPLES_DIR / name)
    text = read_text(loaded.checkpoint, batches=2, seq_len=SEQ_LEN)
    totals = dict.fromkeys(planned, 0.0)
    for ids in text.tokens:
        outputs = {}

        def change(layer, y, outputs=outputs):
            outputs[layer] = y if y.requires_grad else y.detach().requires_grad_()
            return outputs[layer]

        gradients = torch.autograd.grad(loss(plain.logits(ids, change), ids), [*outputs.values()])
        for (layer, y), g in zip(outputs.items(), gradients, strict=True):
            for entry in planned[layer].quantization.slices:
                value = y.detach()[entry.conv_slice.channels].half().float().numpy()
                step = np.float32(entry.scale_out)
                error = half_away(value / step).clip(-128, 127) * np.float64(step) - value
                slopes = g[entry.conv_slice.channels].numpy()
                totals[layer] += float((slopes**2 * error**2).sum()) / 2
    tokens = 2 * (SEQ_LEN - 1)
    for layer, total in totals.items():
        # float32 gradients, and values whose float16 differs in the last place
        assert planned[layer].predicted_nats == pytest.approx(total / tokens, rel=5e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_runs_quantized_and_is_given_back(family, mode, tmp_path):
    save_model(family, tmp_path)
    checkpoint = load_checkpoint(str(tmp_path))
    model = load_language_model(checkpoint, "cpu")
    text = read_text(checkpoint, batches=2, seq_len=19)
    calibration = calibrate(checkpoint, backbone_of(model), text)
    planned = plan_layers(checkpoint, calibration, ScaleRule("minmax"))
    run = float_run(checkpoint, model, text)
    layers = [entry.quantization for entry in planned.values()]
    impact = measure(checkpoint, model, run, layers, mode)
    assert impact.kl.shape == (2, 18)
    assert 0 < impact.kl_nats.mean < 0.1
    assert np.array_equal(float_run(checkpoint, model, text).loss, run.loss)
    assert all(entry.predicted_nats is None for entry in planned.values())


@each_sample
def test_nothing_quantized_costs_exactly_nothing(name, samples):
    impact = samples[name].measure({})
    assert not impact.kl.any() and not impact.delta.any() and impact.same.all()
    assert impact.kl_nats == Estimate(0.0, 0.0)
    assert impact.kl_nats.is_noise


def test_slices_alone_change_only_their_own_channels(samples):
    loaded = samples["mamba2-tiny"]
    whole = quantize_layer(
        loaded.calibration.layer(0), loaded.checkpoint.slices, ScaleRule("percentile", 0.9)
    )
    ids = loaded.held_out.tokens[:1]
    backbone = backbone_of(loaded.model)

    def y_of(names, mode):
        """What the scan of layer 0 receives, read off the identity convolution's input."""
        seen = []
        mixer = backbone.layers[0].mixer
        layers = (
            []
            if names is None
            else [
                replace(whole, slices=tuple(s for s in whole.slices if s.conv_slice.name in names))
            ]
        )
        if not layers:
            with torch.no_grad():
                handle = mixer.in_proj.register_forward_hook(lambda m, i, o: seen.append(o))
                backbone(ids, use_cache=False)
                handle.remove()
            conv = loaded.checkpoint.conv(0)
            x = seen[0][..., loaded.checkpoint.conv_offset :][..., : loaded.checkpoint.conv_dim]
            v = torch.nn.functional.conv1d(
                torch.nn.functional.pad(x.transpose(1, 2), (3, 0)),
                conv.weight[:, None],
                conv.bias,
                groups=len(conv.bias),
            )
            return v / (1 + torch.exp(-v))
        with quantized_outputs(loaded.checkpoint, backbone, layers, mode), torch.no_grad():
            handle = mixer.in_proj.register_forward_hook(lambda m, i, o: seen.append(o))
            backbone(ids, use_cache=False)
            handle.remove()
        first = loaded.checkpoint.conv_offset
        return seen[0][..., first : first + loaded.checkpoint.conv_dim].transpose(1, 2)

    plain = y_of(None, "output")
    for mode in MODES:
        together = y_of(("x", "B", "C"), mode)
        for names in (("x",), ("C",), ("x", "C")):
            y = y_of(names, mode)
            for conv_slice in loaded.checkpoint.slices:
                wanted = together if conv_slice.name in names else plain
                # The same operations, but for other channels beside them.
                torch.testing.assert_close(
                    y[:, conv_slice.channels], wanted[:, conv_slice.channels], atol=1e-6, rtol=0
                )
        assert (together - plain).abs().max() > 0.01


def test_scales_of_single_channels_are_taken_channel_by_channel(samples):
    """Each channel its own MinMax scale: finer than one, and predicted from the channels' sums."""
    loaded = samples["mamba2-tiny"]
    rule = ScaleRule("minmax")
    fine, coarse = loaded.plan(rule, group_size=1), loaded.plan(rule)
    # On the text that was calibrated on, where MinMax clips nothing.
    text = read_text(loaded.checkpoint, batches=2, seq_len=SEQ_LEN)
    run = float_run(loaded.checkpoint, loaded.model, text)
    costs = [
        measure(loaded.checkpoint, loaded.model, run, [e.quantization for e in planned.values()])
        for planned in (fine, coarse)
    ]
    assert costs[0].kl_nats.mean < costs[1].kl_nats.mean
    for layer, entry in fine.items():
        assert entry.predicted_nats < coarse[layer].predicted_nats
        total = 0.0
        for own in entry.quantization.slices:
            sums = channel_gradients(loaded.calibration.capture(layer), own.conv_slice)
            total += sum(
                float(channel.predicted_nats(scale))
                for channel, scale in zip(sums, own.scale_out, strict=True)
            )
            halves = np.repeat([0.1, 0.2], own.conv_slice.width // 2).astype(np.float32)
            one_by_one = sum(
                float(channel.predicted_nats(scale))
                for channel, scale in zip(sums, halves, strict=True)
            )
            assert predict_groups(sums, halves) == pytest.approx(one_by_one, rel=1e-9)
        assert entry.predicted_nats == pytest.approx(total, rel=1e-9)


def test_logits_are_compared_by_hand():
    ours = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    theirs = torch.log(torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]])) + 3.0
    kl, delta, same = compare_logits(ours, theirs, torch.tensor([0, 1, 2]))
    assert kl == pytest.approx([0.25 * math.log(2), 0], abs=1e-7)
    assert delta == pytest.approx([-math.log(2), 0], abs=1e-6)
    assert same.tolist() == [False, True]


def test_an_error_is_that_of_windows_and_one_window_has_none():
    kl = np.array([[1.0, 3.0], [4.0, 4.0], [0.0, 0.0]])
    impact = Impact(kl, -kl, kl > 0.5)
    assert impact.kl_nats == Estimate(2.0, pytest.approx(2.0 / math.sqrt(3)))
    assert impact.kl_nats.is_noise  # 2 ± 1.15
    assert impact.delta_nats.mean == -2.0
    assert impact.same_top.mean == pytest.approx(4 / 6)
    assert Estimate.of(np.array([5.0])) == Estimate(5.0, None)
    assert Estimate.of(np.array([5.0])).is_noise
    steady = Impact(kl + 1, -kl, kl > 0.5)
    assert kl_difference(steady, impact) == Estimate(1.0, 0.0)  # paired: hard windows drop out
    assert not kl_difference(steady, impact).is_noise


def test_nothing_is_computed_twice_and_a_stop_keeps_what_is_finished(samples, tmp_path):
    loaded = samples["mamba2-tiny"]
    planned = loaded.plan(ScaleRule("minmax"))
    quantizations = {layer: entry.quantization for layer, entry in planned.items()}
    store, seen = ResultStore(tmp_path), []

    def stop(progress: ImpactProgress) -> None:
        seen.append(str(progress))
        if progress.setting == 2:
            raise KeyboardInterrupt

    subsets = alone(list(planned))
    finished = []
    with pytest.raises(KeyboardInterrupt):
        for layers, _impact in study(
            loaded.checkpoint,
            loaded.model,
            loaded.run,
            quantizations,
            subsets,
            store=store,
            on_progress=stop,
        ):
            finished.append(layers)
    assert finished == [(0,), (1,)]
    assert seen[0] == "setting 1 of 4, window 1 of 3"
    assert len(seen) == 2 * WINDOWS + 1
    seen.clear()
    rest = study(
        loaded.checkpoint,
        loaded.model,
        loaded.run,
        quantizations,
        subsets,
        store=store,
        on_progress=lambda progress: seen.append(progress.setting),
    )
    again = dict(rest)
    assert seen == [2] * WINDOWS + [3] * WINDOWS
    fresh = measure(loaded.checkpoint, loaded.model, loaded.run, [quantizations[0]])
    assert np.array_equal(again[0,].kl, fresh.kl)
    assert not any(module._forward_hooks for module in loaded.model.modules())


def test_a_key_differs_with_each_thing_that_the_result_depends_on(samples):
    loaded = samples["mamba2-tiny"]
    planned = loaded.plan(ScaleRule("minmax"))
    layers = [entry.quantization for entry in planned.values()]
    other = replace(loaded.run, key="another")
    (first, *rest) = layers[0].slices
    moved = replace(first, scale_out=np.nextafter(first.scale_out, np.float32(1)))
    shifted = replace(first, zero_point=1)
    keys = [
        impact_key(loaded.run, layers, "output"),
        impact_key(loaded.run, layers, "both"),
        impact_key(loaded.run, layers[1:], "output"),
        impact_key(other, layers, "output"),
        impact_key(loaded.run, [replace(layers[0], slices=(moved, *rest))], "output"),
        impact_key(loaded.run, [replace(layers[0], slices=(shifted, *rest))], "output"),
        impact_key(loaded.run, [replace(layers[0], slices=(first,))], "output"),
        impact_key(loaded.run, [layers[0]], "output"),
    ]
    assert len(set(keys)) == len(keys)
    assert impact_key(loaded.run, layers[::-1], "output") == keys[0]


def test_without_room_for_logits_the_float_model_runs_again(samples, monkeypatch):
    loaded = samples["mamba2-tiny"]
    planned = loaded.plan(ScaleRule("minmax"))
    expected = loaded.measure(planned)
    monkeypatch.setattr("dashboard.analysis.impact.KEPT_LOGITS", 0)
    run = float_run(loaded.checkpoint, loaded.model, loaded.held_out)
    assert run.logits == {}
    layers = [entry.quantization for entry in planned.values()]
    again = measure(loaded.checkpoint, loaded.model, run, layers)
    assert np.array_equal(again.kl, expected.kl)


def test_subsets_of_layers():
    assert alone([0, 2, 5]) == [(0,), (2,), (5,)]
    assert cumulative([0, 2, 5]) == [(0,), (0, 2), (0, 2, 5)]


def test_rank_correlation():
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 and 4, 1, 3, 2.
    assert spearman([1, 2, 2, 4], [4, 1, 3, 2]) == pytest.approx(-3 / math.sqrt(22.5))
    assert math.isnan(spearman([1, 1], [1, 2]))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"scale_out": np.zeros((), np.float32)}, "must be finite and above 0"),
        ({"scale_out": np.ones(3, np.float32)}, r"has shape \(3,\); it must be \(\) or \(256,\)"),
    ],
)
def test_scales_that_cannot_be_are_refused(change, fault, samples):
    loaded = samples["mamba2-tiny"]
    own = quantize_layer(
        loaded.calibration.layer(0), loaded.checkpoint.slices, ScaleRule("minmax")
    ).slices[0]
    with pytest.raises(ValueError, match=fault):
        SliceQuantization(**{**vars(own), **change})


def test_what_cannot_be_is_refused(samples):
    loaded = samples["mamba2-tiny"]
    planned = loaded.plan(ScaleRule("minmax"))
    with pytest.raises(ValueError, match="mode is 'weights'; allowed are output, input, both"):
        loaded.measure(planned, "weights")
    with pytest.raises(ValueError, match="slices are 'y'; allowed are x, B, C"):
        loaded.plan(ScaleRule("minmax"), names=["y"])
    with pytest.raises(CalibrationError, match="windows of 1 token have no next token"):
        float_run(
            loaded.checkpoint, loaded.model, read_text(loaded.checkpoint, batches=2, seq_len=1)
        )


def test_windows_after_the_calibrated_ones_are_those_of_the_text():
    checkpoint = load_checkpoint("mamba2-tiny")
    whole = read_text(checkpoint, batches=5, seq_len=16)
    later = read_text(checkpoint, batches=2, seq_len=16, first=3)
    assert torch.equal(later.tokens, whole.tokens[3:])
    assert later.sha256 == whole.sha256
    with pytest.raises(CalibrationError, match="2 batches of 512 after the first 400 need 205,824"):
        read_text(checkpoint, batches=2, seq_len=512, first=400)


# The command line

QUICK = ["--batches", "2", "--seq-len", "40", "--on-batches", "3"]


def impact(capsys, *arguments: str, status: int = 0) -> str:
    assert cli.main(["impact", *arguments, *QUICK]) == status
    return capsys.readouterr().out


def test_the_command_gives_what_is_measured_here(capsys, samples):
    loaded = samples["mamba2-tiny"]
    rule = ScaleRule("percentile", 0.99)
    document = json.loads(
        impact(capsys, "mamba2-tiny", "--alpha", "0.99", "--each", "--predict", "--format", "json")
    )
    planned = loaded.plan(rule)
    subsets = [tuple(planned), *alone(list(planned))]
    expected = list(study_rule(loaded.checkpoint, loaded.model, loaded.run, planned, rule, subsets))
    assert len(document["settings"]) == len(expected) == 5
    for setting, wanted in zip(document["settings"], expected, strict=True):
        assert tuple(setting["layers"]) == wanted.layers
        measures = wanted.measures()
        assert {name: setting[name] for name in measures} == pytest.approx(measures, rel=1e-12)
        assert (setting["observer"], setting["alpha"], setting["mode"]) == (
            "percentile",
            0.99,
            "output",
        )
    assert document["on_first"] == 2 and document["on_batches"] == 3
    assert document["slices"] == ["x", "B", "C"]
    assert document["loss_nats"] == pytest.approx(loaded.run.loss_nats.mean, rel=1e-12)
    assert captions.impact_verdict(expected[0], ENGLISH) in document["reason"]


def test_without_gradients_nothing_is_predicted(capsys):
    (setting,) = json.loads(impact(capsys, "mamba-tiny", "--mode", "both", "--format", "json"))[
        "settings"
    ]
    assert setting["predicted_nats"] is None and setting["mode"] == "both"


def test_a_limit_that_is_exceeded_is_one_line_and_status_1(capsys):
    impact(capsys, "mamba2-tiny", "--max-kl", "1e-9", status=1)
    cli.main(["impact", "mamba2-tiny", "--max-kl", "1e-9", *QUICK])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("dashboard: kl_nats of layers 0–3 is 0.0")
    assert error.endswith("above --max-kl 1e-09\n")
    impact(capsys, "mamba2-tiny", "--max-kl", "1")


def test_a_table_and_rows_say_the_same(capsys):
    arguments = ("mamba2-tiny", "--layers", "1,3", "--slices", "x,C", "--group-size", "32")
    table = impact(capsys, *arguments, "--observer", "minmax", "--each")
    assert "minmax, 32 channels a scale, slices x, C, output" in table
    rows = impact(capsys, *arguments, "--observer", "minmax", "--each", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(rows)))
    assert [line["layers"] for line in lines] == ["1, 3", "1", "3"]
    for line in lines:
        assert f"{float(line['same_top']):.4f}" in table


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["mamba2-tiny", "--slices", "z"], "--slices has 'z'; there are x, B, C"),
        (["mamba-tiny", "--slices", "B"], "--slices has 'B'; there are x"),
        (["mamba2-tiny", "--layers", "9"], "--layers is '9'; there are layers 0 to 3"),
        (["mamba2-tiny", "--observer", "entropy", "--group-size", "8"], "--group-size is for"),
        (["mamba2-tiny", "--on", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["mamba2-small-quamba2"], "quantized already"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(arguments, fault, capsys):
    assert cli.main(["impact", *arguments, *QUICK]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1


def test_a_stop_writes_what_was_finished(capsys, monkeypatch):
    from dashboard.analysis import impact as module

    original, calls = module.measure, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(module, "measure", stopping)
    assert cli.main(["impact", "mamba2-tiny", "--each", "--format", "json", *QUICK]) == 130
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["settings"]) == 2
    assert captured.err == "dashboard: stopped; 3 of 5 settings are missing\n"


# Scales that come from elsewhere


def test_a_calibration_file_gives_what_calibrating_gives(capsys, tmp_path):
    out = tmp_path / "counts.safetensors"
    counted = ["mamba2-tiny", "--batches", "2", "--seq-len", "40", "--out", str(out)]
    assert cli.main(["calibrate", *counted, "--gradients"]) == 0
    arguments = ["mamba2-tiny", "--alpha", "0.99", "--predict", "--format", "json"]
    expected = json.loads(impact(capsys, *arguments))
    document = json.loads(impact(capsys, *arguments, "--scales", str(out)))
    assert document["settings"] == expected["settings"]
    assert document["scales"] == str(out) and expected["scales"] is None
    assert (document["on_first"], document["batches"]) == (2, 2)
    # Of windows of another length, the first that begins behind what was counted.
    longer = ["--seq-len", "64", "--on-batches", "1", "--format", "json"]
    assert cli.main(["impact", "mamba2-tiny", "--scales", str(out), *longer]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["on_first"], document["on_seq_len"], document["seq_len"]) == (2, 64, 40)
    planned = ["--budget", "1", "--format", "json"]
    assert cli.main(["impact", "mamba2-tiny", "--scales", str(out), *QUICK, *planned]) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert {entry["kind"] for entry in budget["layers"]} == {"tensor"}


def test_stored_scales_are_those_of_the_quantized_checkpoint_in_the_float_models_order(capsys):
    """By hand: each channel's stored scale, found by its weights, into a plain float forward."""
    quantized, checkpoint = load_checkpoint("mamba2-small-quamba2"), load_checkpoint("mamba2-small")
    text = read_text(checkpoint, batches=1, seq_len=24, first=1)
    model = load_language_model(checkpoint, "cpu")
    planned = stored_quantizations(quantized, checkpoint)
    assert list(planned) == list(checkpoint.layers)
    steps = {}
    for stored in quantized.stored:
        conv = checkpoint.conv(stored.layer)
        steps[stored.layer] = step = np.empty(len(conv.weight), np.float32)
        for own in stored.slices:
            span = own.conv_slice.channels
            codes = half_away(conv.weight[span].numpy() / np.float32(own.w_scale)).clip(-128, 127)
            rows = stored.weight_q[span].numpy()
            for channel, row in enumerate(codes):
                distance = np.abs(rows.astype(float) - row).max(axis=1)
                assert distance.min() <= 1
                step[own.conv_slice.start + channel] = own.scale_out[distance.argmin()]
    for layer, entry in planned.items():
        widths = [own.conv_slice.width for own in entry.slices]
        made = np.concatenate(
            [np.broadcast_to(s.scale_out, w) for s, w in zip(entry.slices, widths, strict=True)]
        )
        assert np.array_equal(made, steps[layer])

    def change(layer, y):
        step = torch.from_numpy(steps[layer])[:, None]
        codes = torch.from_numpy(half_away((y.float() / step).numpy())).clamp(-128, 127)
        return (codes * step).double()

    plain = PlainModel(SAMPLES_DIR / "mamba2-small")
    (ids,) = text.tokens
    kl = compare_logits(plain.logits(ids)[:-1], plain.logits(ids, change)[:-1], ids)[0]
    run = float_run(checkpoint, model, text)
    measured = measure(checkpoint, model, run, list(planned.values()))
    # Values near a rounding tie go the other way in float32 here and there.
    assert measured.kl_nats.mean == pytest.approx(kl.mean(), rel=0.1)
    quick = ["--seq-len", "24", "--batches", "1", "--on-batches", "1", "--format", "json"]
    source = ["mamba2-small", "--scales", "mamba2-small-quamba2"]
    assert cli.main(["impact", *source, *quick]) == 0
    document = json.loads(capsys.readouterr().out)
    (setting,) = document["settings"]
    assert setting["kl_nats"] == measured.kl_nats.mean
    assert (setting["source"], setting["observer"], document["text"]) == ("stored", None, None)
    assert document["reason"].startswith("stored scales, INT8 output in layers 0–5")
    assert cli.main(["impact", *source, *quick, "--predict"]) == 0
    (setting,) = json.loads(capsys.readouterr().out)["settings"]
    assert setting["predicted_nats"] > 0


def test_a_calibration_of_other_weights_is_refused(samples):
    """Of the same layers and slices, and one weight's last bit apart."""
    loaded = samples["mamba2-tiny"]
    check_calibrated_on(loaded.checkpoint, loaded.calibration)
    *layers, last = loaded.calibration.layers
    *slices, own = last.slices
    moved = replace(own, w_amax=float(np.nextafter(np.float32(own.w_amax), np.float32(9))))
    other = replace(loaded.calibration, layers=(*layers, replace(last, slices=(*slices, moved))))
    with pytest.raises(ValueError, match="layer 3 of the calibration of mamba2-tiny has not the"):
        check_calibrated_on(loaded.checkpoint, other)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["mamba2-tiny", "--scales", "mamba2-small"], "--scales is 'mamba2-small', which stores"),
        (["mamba2-tiny", "--scales", "mamba2-small-quamba2"], "they are not one model"),
        (
            ["mamba2-small", "--scales", "mamba2-small-quamba2", "--budget", "1"],
            "--budget plans from counted activations",
        ),
        (
            ["mamba2-small", "--scales", "mamba2-small-quamba2", "--group-size", "8"],
            "--group-size does not go with --scales",
        ),
        (["mamba-tiny", "--scales", "{file}"], "has not the weights of mamba-tiny"),
        (["mamba2-tiny", "--scales", "{file}", "--predict"], "has no gradients to predict from"),
        (["mamba2-tiny", "--scales", "{file}", "--budget", "1"], "has no counted gradients"),
        (["{file}"], "is a calibration file, which holds no model"),
    ],
)
def test_scales_from_elsewhere_that_cannot_be_are_one_line(arguments, fault, tmp_path, capsys):
    out = tmp_path / "counts.safetensors"
    if any("{file}" in argument for argument in arguments):
        counted = ["mamba2-tiny", "--batches", "1", "--seq-len", "8", "--out", str(out)]
        assert cli.main(["calibrate", *counted]) == 0
    capsys.readouterr()
    given = [argument.format(file=out) for argument in arguments]
    assert cli.main(["impact", *given, *QUICK]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1

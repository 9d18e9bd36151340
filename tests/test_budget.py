"""The cheapest scales within a budget: against every combination, and through the command line."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import cli
from dashboard.analysis.budget import (
    KINDS,
    LayerOption,
    choose,
    layer_options,
)
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.calibration import CalibrationError, calibrate, read_text
from dashboard.checkpoints import load_checkpoint, load_language_model
from dashboard.export.quamba_entries import plan_entries
from dashboard.refusals import Refusal
from dashboard.rules.channels import channel_gradients, channel_outputs, even_groups, group_scales
from dashboard.rules.observers import ScaleRule, fine_alphas, output_scale

BATCHES, SEQ_LEN = 2, 64


@pytest.fixture(scope="module")
def counted():
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=BATCHES, seq_len=SEQ_LEN)
    model = load_language_model(checkpoint, "cpu")
    return checkpoint, calibrate(checkpoint, model, text, gradients=True, keep=[0, 3])


@pytest.fixture(scope="module")
def options(counted):
    checkpoint, calibration = counted
    return {
        layer: layer_options(
            calibration.layer(layer), checkpoint.slices, calibration.capture(layer)
        )
        for layer in (0, 3)
    }


def expense(combination) -> tuple:
    """Few channels before few groups before few zero points before a low cost."""
    kinds = [option.kind for option in combination]
    cost = sum(option.predicted_nats for option in combination)
    return kinds.count("channels"), kinds.count("groups"), kinds.count("asymmetric"), cost


def by_brute_force(options, budget):
    """Of every combination within the budget the least ``expense``; else None."""
    combinations = itertools.product(*(options[layer] for layer in sorted(options)))
    within = [c for c in combinations if sum(option.predicted_nats for option in c) <= budget]
    return min(within, key=expense, default=None)


def test_two_layers_and_four_kinds_are_planned_as_brute_force_plans_them(options):
    """At every budget at which the answer can change, and just below it."""
    totals = {
        sum(option.predicted_nats for option in combination)
        for combination in itertools.product(*options.values())
    }
    assert len(totals) == 16
    for total in sorted(totals):
        for budget in (total * (1 + 1e-9), total * (1 - 1e-9)):
            expected, plan = by_brute_force(options, budget), choose(options, budget)
            assert plan.fits == (expected is not None)
            if expected is None:
                cheapest = [min(o.predicted_nats for o in own) for own in options.values()]
                assert plan.predicted_nats == pytest.approx(sum(cheapest), rel=1e-12)
            else:
                assert [o.kind for o in plan.options] == [o.kind for o in expected]
                assert plan.predicted_nats == pytest.approx(expense(expected)[3], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(1e-6, 1.0), min_size=4, max_size=4), min_size=1, max_size=5),
    st.floats(1e-3, 3.0),
)
def test_any_costs_are_planned_as_brute_force_plans_them(costs, budget):
    options = {
        7 * layer: [
            LayerOption(kind, LayerQuantization(7 * layer, ()), {}, cost)
            for kind, cost in zip(KINDS, own, strict=True)
        ]
        for layer, own in enumerate(costs)
    }
    expected, plan = by_brute_force(options, budget), choose(options, budget)
    assert plan.fits == (expected is not None)
    if expected is not None:
        assert expense(plan.options)[:3] == expense(expected)[:3]
        assert plan.predicted_nats == pytest.approx(expense(expected)[3], rel=1e-9)
        assert [option.layer for option in plan.options] == sorted(options)


def test_each_kind_has_the_rule_that_is_predicted_to_cost_least(counted, options):
    """Of every α, MinMax and least squared error; of groups, of the rules that they have."""
    checkpoint, calibration = counted
    tensor, asymmetric, groups, channels = options[3]
    assert [option.kind for option in options[3]] == list(KINDS)
    capture = calibration.capture(3)
    for i, own in enumerate(calibration.layer(3).slices):
        conv_slice = checkpoint.slices[i]
        for option, symmetric in ((tensor, True), (asymmetric, False)):
            rules = [
                *(
                    ScaleRule("percentile", float(alpha), symmetric=symmetric)
                    for alpha in fine_alphas(own.silu_output.total)
                ),
                ScaleRule("minmax", symmetric=symmetric),
                ScaleRule("mse", symmetric=symmetric),
            ]
            costs = []
            for rule in rules:
                scale = output_scale(rule, own)
                cost = own.gradients.predicted_nats(scale.scale, scale.zero_point)
                costs.append(float(cost))
            chosen = option.quantization.slices[i]
            cost = own.gradients.predicted_nats(float(chosen.scale_out), chosen.zero_point)
            assert float(cost) == pytest.approx(min(costs), rel=1e-12)
            assert chosen.zero_point == 0 or not symmetric
        outputs, sums = channel_outputs(capture, conv_slice), channel_gradients(capture, conv_slice)
        for option, size, names in ((groups, 32, ("minmax", "mse")), (channels, 1, ("minmax",))):
            costs = []
            for name in names:
                scales = group_scales(outputs, even_groups(conv_slice.width, size), ScaleRule(name))
                costs.append(
                    sum(
                        float(own_sums.predicted_nats(scale))
                        for own_sums, scale in zip(sums, scales.per_channel, strict=True)
                    )
                )
            plan = sum(
                float(own_sums.predicted_nats(scale))
                for own_sums, scale in zip(
                    sums, option.quantization.slices[i].scale_out, strict=True
                )
            )
            assert plan == pytest.approx(min(costs), rel=1e-9)


def test_what_cannot_be_planned_is_refused(counted):
    checkpoint, calibration = counted
    own = calibration.layer(0)
    with pytest.raises(ValueError, match="budget_nats is 0; it must be above 0"):
        choose({0: []}, 0)
    with pytest.raises(ValueError, match="there is no layer"):
        choose({}, 1)
    with pytest.raises(ValueError, match="kind is 'int4'; allowed are tensor, asymmetric, groups"):
        layer_options(own, checkpoint.slices, None, ("int4",))
    with pytest.raises(ValueError, match="layer 0: groups and channels need its conv input"):
        layer_options(own, checkpoint.slices, None)
    assert len(layer_options(own, checkpoint.slices, None, ("tensor", "asymmetric"))) == 2
    text = read_text(checkpoint, batches=1, seq_len=16)
    model = load_language_model(checkpoint, "cpu")
    bare = calibrate(checkpoint, model.base_model, text)
    with pytest.raises(CalibrationError, match="layer 0 has no counted gradients"):
        layer_options(bare.layer(0), checkpoint.slices, None, ("tensor",))


def test_a_plan_of_single_scales_leaves_under_quambas_names(options, counted):
    checkpoint, _ = counted
    plan = choose({layer: own[:1] for layer, own in options.items()}, 1.0)
    entries = plan_entries(plan, checkpoint.architecture.n_groups)
    for option in plan.options:
        prefix = f"backbone.layers.{option.layer}.mixer."
        for own in option.quantization.slices:
            scale = float(own.scale_out)
            name = own.conv_slice.name
            shape = (1, 4, 4) if name == "x" else (1,)
            copy = "x_scales" if name == "x" else f"{name}_scale"
            for place in (f"conv1d.{name}_out_scales", f"qchunk_scan.{copy}"):
                assert torch.equal(entries.pop(prefix + place), torch.full(shape, scale))
    assert entries == {}
    for kind in ("asymmetric", "groups", "channels"):
        other = {
            layer: [option for option in own if option.kind == kind]
            for layer, own in options.items()
        }
        with pytest.raises(Refusal, match="layer 0"):
            plan_entries(choose(other, 1.0), 1)


# The command line

QUICK = ["--batches", "2", "--seq-len", "64", "--on-batches", "3"]


def test_the_command_plans_measures_and_says_so(capsys, options):
    least = sum(option.predicted_nats for option in (options[0][0], options[3][0]))
    arguments = ["impact", "mamba2-tiny", "--layers", "0,3", *QUICK, "--format", "json"]
    assert cli.main([*arguments, "--budget", str(3 * least)]) == 0
    document = json.loads(capsys.readouterr().out)
    budget = document["budget"]
    assert budget["nats"] == pytest.approx(3 * least)
    assert budget["fits"] is True
    assert budget["predicted_nats"] == pytest.approx(least, rel=1e-9)
    assert [(own["layer"], own["kind"]) for own in budget["layers"]] == [
        (0, "tensor"), (3, "tensor"),
    ]  # fmt: skip
    for own, option in zip(budget["layers"], (options[0][0], options[3][0]), strict=True):
        for entry in option.quantization.slices:
            written = own["slices"][entry.conv_slice.name]
            assert written["x_out_scale"] == float(entry.scale_out)
            assert written["zero_point"] == 0
    (setting,) = document["settings"]
    assert setting["layers"] == [0, 3] and setting["observer"] is None
    assert setting["kl_nats"] > 0
    assert "one scale a slice in layers 0, 3" in document["reason"]


def test_a_plan_that_is_measured_above_its_budget_is_said_and_status_1(capsys, options):
    """Predictions of short texts run low: what fits by prediction alone is not passed as kept."""
    least = sum(option.predicted_nats for option in (options[0][0], options[3][0]))
    arguments = ["impact", "mamba2-tiny", "--layers", "0,3", *QUICK, "--budget", str(1.01 * least)]
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert "Predicted to keep to" in captured.out and "measured not to" in captured.out
    assert captured.err.count("\n") == 1 and "above --budget" in captured.err


def test_a_budget_that_cannot_be_kept_is_said_and_status_1(capsys, tmp_path):
    arguments = ["impact", "mamba2-tiny", "--layers", "1", *QUICK, "--budget", "1e-12"]
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert "cannot be kept" in captured.out
    assert captured.err.count("\n") == 1 and "--budget 1e-12" in captured.err


def test_entries_are_written_for_what_quamba_can_hold(capsys, tmp_path):
    out = tmp_path / "scales.bin"
    arguments = ["impact", "mamba2-tiny", *QUICK, "--budget", "1", "--entries", str(out)]
    assert cli.main(arguments) == 0
    entries = torch.load(out, weights_only=True)
    assert len(entries) == 4 * 3 * 2
    scale = entries["backbone.layers.2.mixer.conv1d.x_out_scales"]
    assert scale.shape == (1, 4, 4) and len(np.unique(scale)) == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--budget", "0"], "--budget is 0; it must be above 0"),
        (["--budget", "1", "--each"], "--each"),
        (["--budget", "1", "--mode", "both"], "--mode"),
        (["--entries", "scales.bin"], "--entries needs --budget"),
    ],
)
def test_what_does_not_go_with_a_budget_is_one_line(arguments, fault, capsys):
    assert cli.main(["impact", "mamba2-tiny", *QUICK, *arguments]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1

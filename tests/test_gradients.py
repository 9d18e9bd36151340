"""Gradients beside the counts: against finite differences, loops over values, and plain torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import half_away
from plain_forward import PlainModel, loss
from random_checkpoints import CONFIGS, MAMBA_LAYERS, save_model
from safetensors.numpy import load_file, save_file

from dashboard.calibration import CalibrationError, calibrate, read_text
from dashboard.calibration.archive import load_calibration, save_calibration
from dashboard.calibration.gradients import (
    GradientSums,
    GradientTally,
    batch_gradients,
    visit_gradients,
)
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import (
    SAMPLES_DIR,
    CheckpointError,
    load_backbone,
    load_checkpoint,
    load_language_model,
)
from dashboard.rules.channels import channel_gradients
from dashboard.rules.landscape import Landscape, landscapes, recommend

SEQ_LEN = 24

each_sample = pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])


def gradients_of(name: str, batches: int = 2):
    """The project's g of every layer and batch, the tokens, and the plain model."""
    checkpoint = load_checkpoint(name)
    text = read_text(checkpoint, batches=batches, seq_len=SEQ_LEN)
    seen = {}
    model = load_language_model(checkpoint, "cpu")
    visit_gradients(
        checkpoint,
        model,
        text.tokens,
        checkpoint.layers,
        lambda batch, layer, x, g: seen.update({(batch, layer): g[0]}),
    )
    return seen, text.tokens, PlainModel(SAMPLES_DIR / name)


@each_sample
def test_gradients_are_those_of_finite_differences(name):
    """A little more and a little less in one place of y, in float64, by the plain recurrence."""
    seen, tokens, plain = gradients_of(name, batches=1)
    generator = torch.Generator().manual_seed(0)
    step = 1e-4
    for layer in (0, 3):
        g = seen[0, layer]
        most = int(g.abs().argmax())
        places = [divmod(most, SEQ_LEN), (5, SEQ_LEN - 1)] + [
            (
                int(torch.randint(g.shape[0], (), generator=generator)),
                int(torch.randint(SEQ_LEN, (), generator=generator)),
            )
            for _ in range(3)
        ]
        for channel, position in places:

            def moved(by, layer=layer, channel=channel, position=position):
                def change(number, y):
                    y = y.clone()
                    if number == layer:
                        y[channel, position] += by
                    return y

                return float(loss(plain.logits(tokens[0], change), tokens[0]))

            slope = (moved(step) - moved(-step)) / (2 * step)
            # float32 against float64, through as many sums as there are positions and layers
            assert float(g[channel, position]) == pytest.approx(slope, rel=2e-3, abs=2e-5)


@each_sample
def test_every_gradient_is_that_of_plain_torch(name):
    seen, tokens, plain = gradients_of(name)
    for batch, ids in enumerate(tokens):
        outputs = {}

        def change(layer, y, outputs=outputs):
            outputs[layer] = y if y.requires_grad else y.detach().requires_grad_()
            return outputs[layer]

        loss_of = loss(plain.logits(ids, change), ids)
        expected = torch.autograd.grad(loss_of, list(outputs.values()))
        for layer, g in zip(outputs, expected, strict=True):
            scale = float(g.abs().max())
            torch.testing.assert_close(seen[batch, layer].double(), g, atol=1e-4 * scale, rtol=1e-3)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_has_gradients_and_the_same_counts_with_them(family, tmp_path):
    save_model(family, tmp_path)
    checkpoint = load_checkpoint(str(tmp_path))
    model = load_language_model(checkpoint, "cpu")
    text = read_text(checkpoint, batches=2, seq_len=19)
    counted = calibrate(checkpoint, model, text, gradients=True)
    plain = calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text)
    assert [layer.layer for layer in counted.layers] == [*MAMBA_LAYERS[family]]
    for one, other in zip(counted.layers, plain.layers, strict=True):
        for own, without in zip(one.slices, other.slices, strict=True):
            assert own.silu_output.values.tobytes() == without.silu_output.values.tobytes()
            assert own.silu_output.counts.tobytes() == without.silu_output.counts.tobytes()
            assert without.gradients is None
            assert own.gradients.tokens == 2 * 18
            assert (own.gradients.squares > 0).any()
    # The slope along y of all layers: half of the loss's own change when y is put a little off.
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def brute_force(y: np.ndarray, g: np.ndarray, scale: float, zero_point: int, tokens: int) -> float:
    """½ Σ g² (Q(y) − y)² per token, value by value."""
    total = 0.0
    for value, slope in zip(y.tolist(), g.tolist(), strict=True):
        code = float(half_away(np.float32(value) / np.float32(scale))) + zero_point
        dequantized = (min(max(code, -128), 127) - zero_point) * float(np.float32(scale))
        total += 0.5 * slope**2 * (dequantized - value) ** 2
    return total / tokens


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-0.28125, 30, width=16), st.floats(-5, 5), st.integers(0, 1)),
        min_size=1,
        max_size=40,
    ),
    st.floats(1e-3, 1.0),
    st.integers(-100, 100),
)
def test_a_prediction_is_the_sum_over_values(entries, scale, zero_point):
    y = torch.tensor([entry[0] for entry in entries])
    g = torch.tensor([entry[1] for entry in entries])
    sums = GradientSums.of(y, g, tokens=7)
    expected = brute_force(y.numpy(), g.numpy().astype(np.float64), scale, zero_point, 7)
    predicted = float(sums.predicted_nats(scale, zero_point))
    # Expanded squares: their rounding is of the order of the greatest g² y² there is.
    most = float((g.double().abs().max() * y.double().abs().max()) ** 2) + 1
    assert predicted == pytest.approx(expected, rel=1e-9, abs=1e-13 * most * len(entries))
    codes = np.clip(half_away(sums.values / np.float32(scale)) + zero_point, -128, 127)
    dequantized = (codes - zero_point) * np.float64(np.float32(scale))
    assert sums.predicted_of(dequantized) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    drift = (
        g.double().numpy() * (np.interp(y.numpy(), sums.values, dequantized) - y.numpy())
    ).sum()
    assert sums.predicted_drift(dequantized) == pytest.approx(drift / 7, rel=1e-6, abs=1e-9)


def test_tallied_patterns_are_the_sums_by_value_with_both_zeros_together():
    y = torch.tensor([[0.0, -0.0, 1.0, -0.25, 1.0, 1.0000001, 3.5]])
    g = torch.tensor([[1.0, 2.0, 3.0, -4.0, 5.0, -6.0, 0.0]])
    tally = GradientTally()
    for part in (slice(0, 4), slice(4, 7)):
        tally.add(batch_gradients(y[:, part], g[:, part], Histogram.of(y[:, part])))
    sums = tally.sums_of(Histogram.of(y))
    assert sums.values.tolist() == [-0.25, 0.0, 1.0, 3.5]
    assert sums.squares.tolist() == [16.0, 5.0, 9.0 + 25.0 + 36.0, 0.0]
    assert sums.sums.tolist() == [-4.0, 3.0, 2.0, 0.0]
    assert sums.tokens == 3 + 2
    with pytest.raises(ValueError, match="NaN or infinite"):
        batch_gradients(y, g * float("inf"), Histogram.of(y))


def test_merging_adds_values_that_either_has():
    one = GradientSums(np.array([0, 1], np.float32), np.array([1.0, 2]), np.array([1.0, 0]), 3)
    other = GradientSums(np.array([1, 2], np.float32), np.array([4.0, 8]), np.array([-1.0, 2]), 4)
    both = one + other
    assert both.values.tolist() == [0, 1, 2]
    assert both.squares.tolist() == [1, 6, 8]
    assert both.sums.tolist() == [1, -1, 2]
    assert both.tokens == 7


@pytest.fixture(scope="module")
def counted():
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=3, seq_len=48)
    model = load_language_model(checkpoint, "cpu")
    return checkpoint, calibrate(checkpoint, model, text, gradients=True, keep=[1])


def test_the_channels_sums_add_up_to_the_slices(counted):
    checkpoint, calibration = counted
    for conv_slice, own in zip(checkpoint.slices, calibration.layer(1).slices, strict=True):
        channels = channel_gradients(calibration.capture(1), conv_slice)
        assert len(channels) == conv_slice.width
        merged = GradientSums.merge(channels, own.gradients.tokens)
        present = own.gradients.squares > 0
        assert np.array_equal(merged.values, own.gradients.values)
        np.testing.assert_allclose(merged.squares[present], own.gradients.squares[present], 1e-12)
        assert {sums.tokens for sums in channels} == {3 * 47}
    with pytest.raises(ValueError, match="layer 1 was not kept"):
        channel_gradients(replace(calibration.capture(1), gradient=None), checkpoint.slices[0])


def test_two_runs_and_a_file_give_the_same_bits(counted, tmp_path):
    checkpoint, calibration = counted
    text = read_text(checkpoint, batches=3, seq_len=48)
    again = calibrate(checkpoint, load_language_model(checkpoint, "cpu"), text, gradients=True)
    save_calibration(tmp_path / "counts.safetensors", calibration)
    loaded = load_calibration(tmp_path / "counts.safetensors")
    for first, second, third in zip(calibration.layers, again.layers, loaded.layers, strict=True):
        for a, b, c in zip(first.slices, second.slices, third.slices, strict=True):
            for other in (b, c):
                assert other.gradients.squares.tobytes() == a.gradients.squares.tobytes()
                assert other.gradients.sums.tobytes() == a.gradients.sums.tobytes()
                assert other.gradients.values.tobytes() == a.gradients.values.tobytes()
                assert other.gradients.tokens == a.gradients.tokens


def test_a_file_without_gradients_opens_and_one_with_bad_ones_does_not(counted, tmp_path):
    _, calibration = counted
    path = tmp_path / "counts.safetensors"
    save_calibration(path, calibration)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    older = {name: array for name, array in arrays.items() if ".gradients." not in name}
    save_file(older, path, metadata)
    assert all(
        own.gradients is None for layer in load_calibration(path).layers for own in layer.slices
    )
    name = "layers.1.B.gradients"
    for bad in (
        {f"{name}.squares": arrays[f"{name}.squares"] - 1e9},
        {f"{name}.squares": arrays[f"{name}.squares"][:-1]},
        {f"{name}.squares": arrays[f"{name}.squares"] * 1e306},
        {f"{name}.sums": arrays[f"{name}.sums"] * np.nan},
        {f"{name}.tokens": np.array([0])},
    ):
        save_file(arrays | bad, path, metadata)
        with pytest.raises(CalibrationError, match=r"layers\.1\.B\.gradients must have two finite"):
            load_calibration(path)


def test_a_batch_of_one_token_has_no_loss():
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=2, seq_len=1)
    with pytest.raises(CalibrationError, match="batches of 1 token have no next token"):
        calibrate(checkpoint, load_language_model(checkpoint, "cpu"), text, gradients=True)


def test_a_quantized_checkpoint_has_no_loss_either():
    with pytest.raises(CheckpointError, match="quantized already"):
        load_language_model(load_checkpoint("mamba2-small-quamba2"), "cpu")


def test_the_best_alpha_is_the_one_of_least_predicted_loss(counted):
    _, calibration = counted
    own = calibration.layer(2).slices[0]
    landscape = Landscape.of(own.silu_output, gradients=own.gradients)
    one_by_one = [float(own.gradients.predicted_nats(scale)) for scale in landscape.scales]
    np.testing.assert_allclose(landscape.predicted_nats, one_by_one, rtol=1e-12)
    assert landscape.by == "predicted_nats"
    least = min(one_by_one)
    equals = [a for a, cost in zip(landscape.alphas, one_by_one, strict=True) if cost == least]
    assert landscape.best_alpha == max(equals)
    assert landscape.excess_nats(1.0) == pytest.approx(one_by_one[-1] - least, rel=1e-12)
    by_sqnr = Landscape.of(own.silu_output, gradients=own.gradients, by="sqnr_db")
    assert by_sqnr.best_db == max(by_sqnr.sqnr_db)
    assert by_sqnr.best_nats >= landscape.best_nats
    upper = landscape.at_least(0.9)
    assert upper.best_alpha == landscape.best_alpha
    with pytest.raises(ValueError, match="needs gradients"):
        Landscape.of(own.silu_output, by="predicted_nats")


def test_the_recommended_alpha_costs_least_in_all(counted):
    _, calibration = counted
    every = landscapes(calibration)
    recommended = recommend(every)
    assert recommended.by == "predicted_nats"
    common = set.intersection(*(set(landscape.alphas.tolist()) for landscape in every.values()))

    def total(alpha):
        return sum(
            float(landscape.predicted_nats[landscape.alphas.tolist().index(alpha)])
            for landscape in every.values()
        )

    assert total(recommended.alpha) == pytest.approx(min(map(total, common)), rel=1e-12)
    excess = total(recommended.alpha) - sum(landscape.best_nats for landscape in every.values())
    assert recommended.total_excess_nats(recommended.alpha) == pytest.approx(excess, rel=1e-9)
    assert recommended.worst.excess_nats[recommended.alpha] == max(
        choice.excess_nats[recommended.alpha] for choice in recommended.layers
    )
    mixed = every | {next(iter(every)): landscapes(calibration, by="sqnr_db")[next(iter(every))]}
    with pytest.raises(ValueError, match="some by predicted loss"):
        recommend(mixed)

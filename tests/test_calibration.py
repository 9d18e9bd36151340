"""What is captured and counted, against a plain forward of transformers without any hook."""

import os

import numpy as np
import pytest
import torch

from dashboard.calibration import (
    CalibrationError,
    ConvCapture,
    calibrate,
    read_text,
    text_names,
)
from dashboard.calibration.batch_store import BatchStore
from dashboard.calibration.capture import assemble, count_batches
from dashboard.calibration.counting import Tally
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import (
    CheckpointError,
    default_device,
    load_backbone,
    load_checkpoint,
)

BATCHES, SEQ_LEN = 3, 64


def calibrated(name: str, **options):
    checkpoint = load_checkpoint(name)
    backbone = load_backbone(checkpoint, "cpu")
    text = read_text(checkpoint, batches=BATCHES, seq_len=SEQ_LEN)
    return checkpoint, backbone, text, calibrate(checkpoint, backbone, text, **options)


def plain_conv_input(checkpoint, backbone, text, layer) -> torch.Tensor:
    """Block after block by hand, then in_proj of the normed hidden state: (N, D, L)."""
    mixer, inner = backbone.layers[layer].mixer, backbone.layers[layer].mixer.intermediate_size
    with torch.no_grad():
        hidden = backbone.embeddings(text.tokens)  # all batches at once
        for block in backbone.layers[:layer]:
            hidden = block(hidden)
        projected = mixer.in_proj(backbone.layers[layer].norm(hidden))
    if checkpoint.family == "mamba":
        return projected[..., :inner].transpose(1, 2)
    return projected[..., inner : inner + mixer.conv_dim].transpose(1, 2)


@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
def test_the_captured_input_and_the_counts_are_those_of_a_plain_forward(name):
    checkpoint, backbone, text, calibration = calibrated(name, keep=(0, 2))
    assert [entry.layer for entry in calibration.layers] == list(range(checkpoint.n_layers))
    for layer in (0, 2):
        capture = calibration.capture(layer)
        assert isinstance(capture, ConvCapture)
        expected = plain_conv_input(checkpoint, backbone, text, layer)
        assert capture.x.shape == (BATCHES, checkpoint.conv_dim, SEQ_LEN)
        assert capture.x.dtype == torch.float32
        # Matrix products of three sequences at once may add in another order than of one.
        torch.testing.assert_close(capture.x, expected, rtol=1e-4, atol=1e-4)

        # nn.Conv1d pads on both sides; the first L positions are the causal ones.
        conv1d = backbone.layers[layer].mixer.conv1d
        with torch.no_grad():
            v = conv1d(capture.x)[..., :SEQ_LEN]
        y = torch.nn.functional.silu(v)
        for conv_slice, counted in zip(
            checkpoint.slices, calibration.layer(layer).slices, strict=True
        ):
            assert counted.name == conv_slice.name
            assert counted.x_amax == float(capture.x[:, conv_slice.channels].abs().max())
            for values, histogram in ((v, counted.silu_input), (y, counted.silu_output)):
                plain = values[:, conv_slice.channels].half().float().numpy()
                assert histogram.total == plain.size
                counts = np.unique(plain, return_counts=True)
                # Conv1d may add the taps in another order: a last bit of float32, which moves a
                # float16 rounding in at most a thousandth of the values.
                moved = np.abs(
                    np.interp(counts[0], histogram.values, np.cumsum(histogram.counts))
                    - np.cumsum(counts[1])
                ).max()
                assert moved <= 1e-3 * plain.size
                assert histogram.max == pytest.approx(plain.max(), rel=1e-3)


@pytest.mark.skipif(default_device() == "cpu", reason="no CUDA device that Triton compiles for")
@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
def test_on_cuda_half_precision_moves_a_quantile_by_less_than_a_percent(name):
    checkpoint, _, text, on_cpu = calibrated(name)
    on_cuda = calibrate(checkpoint, load_backbone(checkpoint, "cuda"), text, keep=(0,))
    assert on_cuda.capture(0).x.device.type == "cpu"
    for one, other in zip(on_cpu.layers, on_cuda.layers, strict=True):
        for a, b in zip(one.slices, other.slices, strict=True):
            assert a.silu_output.total == b.silu_output.total
            expected = a.silu_output.abs.quantile(0.9995)
            assert b.silu_output.abs.quantile(0.9995) == pytest.approx(expected, rel=0.01)


def test_the_batches_add_up_to_the_whole():
    _, _, _, calibration = calibrated("mamba-tiny", layers=(1,))
    (counted,) = calibration.layer(1).slices
    assert len(counted.batches) == BATCHES
    whole = counted.batches[0] + counted.batches[1] + counted.batches[2]
    np.testing.assert_array_equal(whole.values, counted.silu_output.values)
    np.testing.assert_array_equal(whole.counts, counted.silu_output.counts)


def test_only_the_layers_asked_for_are_counted_and_kept():
    _, _, _, calibration = calibrated("mamba-tiny", layers=(3,), keep=(1,))
    assert [entry.layer for entry in calibration.layers] == [3]
    assert [capture.layer for capture in calibration.captures] == [1]


def test_progress_is_told_for_every_layer_of_every_batch_and_can_end_the_run():
    checkpoint, backbone, text, _ = calibrated("mamba-tiny", layers=())
    seen = []
    calibrate(checkpoint, backbone, text, on_progress=seen.append)
    assert [(p.batch, p.layer) for p in seen] == [(b, n) for b in range(BATCHES) for n in range(4)]
    assert seen[-1].share == 1
    assert str(seen[0]) == "batch 1 of 3, layer 0"

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.batch == 1:
            raise Stop

    with pytest.raises(Stop):
        calibrate(checkpoint, backbone, text, on_progress=stop)
    hooks = [len(b.mixer.in_proj._forward_hooks) for b in backbone.layers]
    assert hooks == [0] * checkpoint.n_layers


def test_an_activation_that_is_not_finite_names_the_layer_and_the_batch():
    checkpoint, backbone, text, _ = calibrated("mamba-tiny", layers=())
    backbone.layers[2].mixer.in_proj.weight[5, :] = float("nan")
    with pytest.raises(CalibrationError, match=r"layer 2, batch 0, slice x: .*NaN"):
        calibrate(checkpoint, backbone, text)


def test_bytes_are_the_tokens_of_a_checkpoint_without_tokenizer(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("naïve 12345678", encoding="utf-8")
    text = read_text(load_checkpoint("mamba-tiny"), str(path), batches=2, seq_len=7)
    assert text.tokens.flatten().tolist() == list("naïve 12345678".encode())[:14]
    assert (text.batches, text.seq_len, text.name) == (2, 7, "text.txt")


def test_a_text_that_is_too_short_says_how_many_tokens_it_has(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("hello")
    with pytest.raises(CalibrationError, match=r"has 5 tokens; 2 batches of 4 need 8"):
        read_text(load_checkpoint("mamba-tiny"), str(path), batches=2, seq_len=4)
    path.write_text("")
    with pytest.raises(CalibrationError, match="has 0 tokens"):
        read_text(load_checkpoint("mamba-tiny"), str(path), batches=1, seq_len=1)


@pytest.mark.parametrize(("batches", "seq_len"), [(0, 8), (8, 0), (-1, -1)])
def test_batches_and_length_must_be_positive(batches, seq_len):
    with pytest.raises(CalibrationError, match="both must be at least 1"):
        read_text(load_checkpoint("mamba-tiny"), batches=batches, seq_len=seq_len)


def test_a_text_that_cannot_be_read_is_named(tmp_path):
    checkpoint = load_checkpoint("mamba-tiny")
    with pytest.raises(CalibrationError, match=r"missing\.txt cannot be read"):
        read_text(checkpoint, str(tmp_path / "missing.txt"))
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_text(checkpoint, str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 9000)
    with pytest.raises(CalibrationError, match="is not UTF-8"):
        read_text(checkpoint, str(tmp_path / "latin.txt"))


def test_a_large_vocabulary_without_tokenizer_says_what_to_add(tmp_path):
    from dataclasses import replace

    checkpoint = load_checkpoint("mamba-tiny")
    larger = replace(checkpoint.architecture, vocab_size=50000)
    checkpoint = replace(checkpoint, architecture=larger, path=tmp_path)
    with pytest.raises(CheckpointError, match=r"vocabulary of 50000 and no tokenizer\.json"):
        read_text(checkpoint)


def test_the_texts_that_come_along_are_named_calibration_first():
    assert text_names() == ["calibration.txt", "dictionary.txt", "out-of-domain.txt"]


def test_what_is_set_aside_on_disk_comes_back_to_the_bit():
    """Odd and even numbers of distinct values, so that some counts need padding before them."""
    generator = torch.Generator().manual_seed(0)
    put = [Histogram.of(torch.randn(n, generator=generator)) for n in (1, 2, 3, 1000, 4097)]
    values = [histogram.values.astype(np.float16) for histogram in put]
    counts = [histogram.counts.astype(np.uint32) for histogram in put]
    store = BatchStore()
    places = [store.put(values[i], counts[i], [len(values[i])])[0] for i in range(3)]
    lengths = list(map(len, values[3:]))
    places += store.put(np.concatenate(values[3:]), np.concatenate(counts[3:]), lengths)
    for place, wanted in zip(places[::-1], put[::-1], strict=True):
        read = store.get(place)
        assert read.values.dtype == np.float32 and read.counts.dtype == np.int64
        np.testing.assert_array_equal(read.values, wanted.values)
        np.testing.assert_array_equal(read.counts, wanted.counts)
        assert read.quantile(0.37) == wanted.quantile(0.37)
    # Those put together are one run, in whatever company they are asked for.
    runs = list(store.runs([places[3], places[4], places[0], places[2]]))
    assert [len(own) for own, _ in runs] == [len(values[3]) + len(values[4]), 1, len(values[2])]
    np.testing.assert_array_equal(runs[0][0], np.concatenate(values[3:]))
    np.testing.assert_array_equal(runs[0][1], np.concatenate(counts[3:]))
    with pytest.raises(ValueError, match="values are float32 and counts uint32; they must be"):
        store.put(put[0].values, counts[0], [1])


def test_what_could_not_be_set_aside_leaves_the_rest_right(monkeypatch):
    """A disk that fills up in the middle of a batch, and has room again for the next."""
    values = np.arange(5, dtype=np.float16)
    store = BatchStore()
    (first,) = store.put(values, np.full(5, 3, np.uint32), [5])
    pwrite = os.pwrite

    def full(file, content, at):
        if len(content) < 8:
            raise OSError("no space left on device")
        return pwrite(file, content[:8], at)

    with monkeypatch.context() as context:
        context.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space left"):
            store.put(values, np.full(5, 4, np.uint32), [5])
    (last,) = store.put(values, np.full(5, 6, np.uint32), [5])
    for place, count in ((first, 3), (last, 6)):
        assert store.get(place).counts.tolist() == [count] * 5
        np.testing.assert_array_equal(store.get(place).values, values)


def test_a_tally_that_lacks_a_batch_is_no_calibration():
    checkpoint = load_checkpoint("mamba-tiny")
    backbone = load_backbone(checkpoint)
    text = read_text(checkpoint, "calibration.txt", 3, 16)
    tally = Tally(checkpoint.n_layers)
    count_batches(checkpoint, backbone, text, [0, 2], checkpoint.layers, tally)
    with pytest.raises(RuntimeError, match=r"batches \[1\] were not counted"):
        assemble(checkpoint, backbone, text, checkpoint.layers, tally)


def test_the_batches_of_a_calibration_lie_on_disk():
    """Their arrays own no memory: they are views of the mapped file."""
    checkpoint = load_checkpoint("mamba-tiny")
    text = read_text(checkpoint, "calibration.txt", 3, 32)
    calibration = calibrate(checkpoint, load_backbone(checkpoint), text)
    for layer in calibration.layers:
        for batch in layer.slices[0].batches:
            assert all(not own.flags.owndata for own in batch.narrow())
        merged = Histogram.sum(layer.slices[0].batches)
        np.testing.assert_array_equal(merged.counts, layer.slices[0].silu_output.counts)

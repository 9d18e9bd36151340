"""Train a dozen models side by side, and see what a percentile scale costs each of them.

The four samples are mild: whichever α is chosen, their loss hardly moves. Larger models are not
always so, and a reader should see one where α decides. Nothing is done to the weights: each run is
``train.train`` with another text, window, learning rate, weight decay or seed, and four times on
its way the stored (float16) weights are judged. Scales come from the first ``BATCHES`` windows of a
held-out text, the cost from the ``BATCHES`` after those: mean KL of the next-byte predictions, in
nats, with SiLU(conv1d) of all layers rounded to INT8.

    python -m sample_checkpoints.search --corpora DIRECTORY --run 20 --out DIRECTORY

DIRECTORY holds for each text a folder with ``training.txt`` and ``held-out.txt``
(``other_texts.py`` makes them). Each run logs a line of JSON per judgement and keeps the weights
that were judged, so that any of them can be looked at afterwards.
"""

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sample_checkpoints.train import SAMPLES, LanguageModel, save, train

BATCHES, SEQ_LEN = 16, 512
ALPHAS = (0.9995, 0.99999, 1.0)
JUDGED = 4  # times in a run


@dataclass(frozen=True)
class Run:
    """One training: everything that is not as in the samples' own recipe."""

    text: str
    sample: str = "mamba2-small"
    steps: int = 1500
    batch: int = 64
    window: int = 512
    lr: float = 3e-3
    weight_decay: float = 0.1
    seed: int = 0


RUNS = (
    Run("code"),
    Run("code", seed=1),
    Run("code", lr=6e-3),
    Run("code", batch=32, window=1024),
    Run("code", weight_decay=0.0),
    Run("code", sample="mamba2-tiny", steps=3000),
    Run("speeches", lr=6e-3, seed=1),
    Run("speeches", batch=32, window=1024),
    Run("speeches", weight_decay=0.0),
    Run("speeches", lr=1e-2),
    Run("tables"),
    Run("tables", sample="mamba2-tiny", steps=3000),
    Run("speeches", steps=3000, batch=16, lr=6e-3, seed=1),
    Run("speeches", steps=3000, batch=16, lr=1e-2, seed=1),
    Run("speeches", steps=3000, batch=16, lr=2e-2, seed=2),
    Run("speeches", steps=3000, batch=16, lr=1e-2, weight_decay=0.0, seed=3),
    Run("speeches", steps=2000, batch=8, window=2048, lr=6e-3, seed=4),
    Run("novel", steps=2000, batch=32),
    Run("novel", steps=2000, batch=32, lr=1e-2, seed=1),
    Run("dictionary", steps=2000, batch=32),
    Run("dictionary", steps=2000, batch=32, lr=1e-2, seed=1),
    Run("medley", steps=2000, batch=32, seed=0),
    Run("medley", steps=2000, batch=32, lr=1e-2, seed=1),
    Run("code", steps=2000, batch=8, window=2048, lr=1e-2, seed=2),
    *(Run("dictionary", steps=2000, batch=32, lr=1e-2, seed=seed) for seed in (2, 3, 4, 5)),
    *(Run("dictionary", steps=2000, batch=32, lr=2e-2, seed=seed) for seed in (0, 1, 2, 3)),
    *(Run("dictionary", "mamba2-tiny", 2000, 32, lr=1e-2, seed=seed) for seed in (0, 1)),
    *(Run("dictionary", "mamba2-tiny", 2000, 32, lr=2e-2, seed=seed) for seed in (0, 1)),
)


def slices_of(model: LanguageModel) -> list[slice]:
    """The channels of x, B and C, which have a scale each; of x alone in a Mamba-1."""
    shape = model.shape
    if shape.family == "mamba":
        return [slice(0, shape.d_inner)]
    ends = [shape.d_inner, shape.d_inner + shape.d_state, shape.d_inner + 2 * shape.d_state]
    return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def quantile(values: Tensor, alpha: float) -> float:
    """The α-quantile of |values|, linearly interpolated; ``torch.quantile`` takes no as many."""
    sizes = values.abs().flatten()
    rank = alpha * (len(sizes) - 1)
    low = int(rank)
    above = sizes.topk(len(sizes) - low).values  # few: α is near 1; largest first
    return float(torch.lerp(above[-1], above[max(len(above) - 2, 0)], rank - low))


@torch.no_grad()
def observed(model: LanguageModel, tokens: Tensor) -> list[Tensor]:
    """SiLU(conv1d) of every layer, (W, L, D) each."""
    outputs: list[Tensor] = []
    for block in model.backbone.layers:
        own = type(block.mixer).convolved

        def noting(x: Tensor, mixer=block.mixer, own=own) -> Tensor:
            outputs.append(own(mixer, x))
            return outputs[-1]

        block.mixer.convolved = noting
    model(tokens)
    restore(model)
    return outputs


def restore(model: LanguageModel) -> None:
    """Take back what was put in place of the layers' convolutions."""
    for block in model.backbone.layers:
        block.mixer.__dict__.pop("convolved", None)


@torch.no_grad()
def quantized_logits(
    model: LanguageModel, tokens: Tensor, scales: dict[int, list[float]]
) -> Tensor:
    """Logits with the layers of ``scales`` rounded to INT8, each slice by its own scale."""
    spans = slices_of(model)
    for layer, own_scales in scales.items():
        mixer = model.backbone.layers[layer].mixer
        own = type(mixer).convolved

        def rounded(x: Tensor, mixer=mixer, own=own, own_scales=own_scales) -> Tensor:
            y = own(mixer, x)
            for span, scale in zip(spans, own_scales, strict=True):
                y[..., span] = (y[..., span] / scale).round().clamp(-128, 127) * scale
            return y

        mixer.convolved = rounded
    logits = model(tokens)
    restore(model)
    return logits


def cost(ours: Tensor, theirs: Tensor, tokens: Tensor) -> dict[str, float]:
    """KL and loss difference in nats, with standard errors over windows."""
    p, q = (torch.log_softmax(x[:, :-1].double(), -1) for x in (ours, theirs))
    kl = (p.exp() * (p - q)).sum(-1).mean(1)
    following = tokens[:, 1:, None]
    delta = (p - q).gather(-1, following)[..., 0].mean(1)
    error = math.sqrt(len(kl))
    return {
        "kl": float(kl.mean()),
        "kl_error": float(kl.std() / error),
        "delta": float(delta.mean()),
        "delta_error": float(delta.std() / error),
    }


@dataclass(frozen=True, eq=False)
class Observed:
    """A model on held-out text, and the scales that another text gives its outputs."""

    tokens: Tensor  # (BATCHES, L), the windows that it is judged on
    logits: Tensor  # (BATCHES, L, vocabulary), the float model's
    outputs: list[Tensor]  # SiLU(conv1d) of each layer on the windows of the scales, (W, L, D)
    scales: dict[float, dict[int, list[float]]]  # by α and layer, one a slice


def observe(model: LanguageModel, held_out: Tensor) -> Observed:
    """Scales from the first half of ``held_out`` (2 · BATCHES, L), logits on the other."""
    calibration, windows = held_out.split(BATCHES)
    outputs = observed(model, calibration)
    spans = slices_of(model)
    scales = {
        alpha: {
            layer: [max(quantile(y[..., span], alpha) / 127, 1e-6) for span in spans]
            for layer, y in enumerate(outputs)
        }
        for alpha in ALPHAS
    }
    with torch.no_grad():
        return Observed(windows, model(windows), outputs, scales)


def by_alpha(model: LanguageModel, seen: Observed) -> dict:
    """The float model's loss, and what INT8 outputs of all layers cost it by each α; nats."""
    loss = F.cross_entropy(seen.logits[:, :-1].flatten(0, 1), seen.tokens[:, 1:].flatten())
    return {"loss": float(loss)} | {
        str(alpha): cost(seen.logits, quantized_logits(model, seen.tokens, scales), seen.tokens)
        for alpha, scales in seen.scales.items()
    }


def by_layer(model: LanguageModel, seen: Observed) -> dict:
    """What each layer alone costs at the first α, and how far beyond its quantile its x goes."""
    first = seen.scales[ALPHAS[0]]
    return {
        "alone": [
            cost(seen.logits, quantized_logits(model, seen.tokens, {layer: scales}), seen.tokens)[
                "kl"
            ]
            for layer, scales in first.items()
        ],
        "reach": [
            float(y[..., slices_of(model)[0]].abs().max()) / (127 * first[layer][0])
            for layer, y in enumerate(seen.outputs)
        ],
    }


def evaluate(model: LanguageModel, held_out: Tensor) -> dict:
    """What INT8 outputs cost a model; ``held_out`` (2 · BATCHES, L) tokens."""
    seen = observe(model, held_out)
    return by_alpha(model, seen) | by_layer(model, seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--run", type=int, required=True, help=f"0 to {len(RUNS) - 1}")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = RUNS[arguments.run]
    shape = SAMPLES[run.sample]
    folder = arguments.corpora / run.text
    text = (folder / "training.txt").read_bytes()
    held_out = torch.tensor(list((folder / "held-out.txt").read_bytes()[: 2 * BATCHES * SEQ_LEN]))
    held_out = held_out.view(2 * BATCHES, SEQ_LEN).to(device)
    began = time.perf_counter()

    def on_step(step: int, bits: float, model: LanguageModel) -> None:
        if step * JUDGED % run.steps:
            return
        judged = LanguageModel(shape).to(device).eval()
        state = {
            k.replace("_orig_mod.", ""): v.half().float() for k, v in model.state_dict().items()
        }
        judged.load_state_dict(state)
        torch.set_float32_matmul_precision("highest")
        costs = evaluate(judged, held_out)
        torch.set_float32_matmul_precision("high")
        line = {
            "run": arguments.run,
            **asdict(run),
            "step": step,
            "bits": bits,
            "seconds": time.perf_counter() - began,
            **costs,
        }
        with (arguments.out / f"run-{arguments.run:02}.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        save(judged, arguments.out / f"run-{arguments.run:02}-{step}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    train(
        shape,
        text,
        steps=run.steps,
        batch=run.batch,
        lr=run.lr,
        seed=run.seed,
        device=device,
        window=run.window,
        weight_decay=run.weight_decay,
        on_step=on_step,
    )


if __name__ == "__main__":
    main()

"""Every term and symbol of the subject: what it is called, what it means, and its formula.

The keys are the names by which messages refer to a term, ``[[key|words]]``; see ``prose``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dashboard.analysis.report import SILU_MIN
from dashboard.rules.observers import DEFAULT_SIGMA
from dashboard.rules.observers.aciq import CLIPPING
from dashboard.text.language import Language
from dashboard.text.numbers import signed
from kernels.int8 import QMAX, QMIN


@dataclass(frozen=True)
class Term:
    """One entry; ``formula`` is empty where words say it all."""

    key: str
    name: str
    meaning: str
    formula: str = ""


def glossary(say: Language) -> dict[str, Term]:
    """Every term by its key, in the order in which the lesson needs them, then the rest."""
    low, high = signed(QMIN, 0), str(QMAX)
    entries = (
        Term("int8", say("INT8"),
             say("A whole number in eight bits: {count} codes, from {low} to {high}.",
                 count=QMAX - QMIN + 1, low=low, high=high),
             f"q ∈ {{{low} … {high}}}"),
        Term("code", say("code"),
             say("The whole number that is stored in place of a real value."), "q"),
        Term("scale", say("scale"), say("How much one code is worth, in real units."),
             f"scale = amax / {high}"),
        Term("amax", say("amax"),
             say("The magnitude that the largest code stands for. More than half a code beyond "
                 "it, values saturate.")),
        Term("quantize", say("quantize"),
             say("From a real value to a code: divide by the scale, round, clamp."),
             f"q = clamp(round(v / scale), {low}, {high})"),
        Term("dequantize", say("dequantize"), say("From a code back to a real value."),
             "v̂ = q · scale"),
        Term("rounding", say("rounding error"),
             say("What is lost inside the range: at most half a code."), "|v̂ − v| ≤ scale / 2"),
        Term("saturation", say("saturation, clipping"),
             say("A value that would round to a code beyond the last gets the outermost code, "
                 "however far away it is."),
             f"v ≥ {QMAX + 0.5} · scale, v ≤ {signed(QMIN - 0.5, 1)} · scale"),
        Term("saturation_rate", "saturation_rate",
             say("The share of the values that would round to a code beyond {low} or {high}.",
                 low=low, high=high)),
        Term("conv1d", say("causal conv1d"),
             say("Each channel's value becomes a weighted sum of itself and the values before it."),
             "acc = Σₖ weight_q[k] · x_q[l − W + 1 + k]"),
        Term("acc", say("accumulator"),
             say("The integer sum of products in the convolution. It is exact."), "acc"),
        Term("kernel", say("kernel"),
             say("The one program that computes convolution, SiLU and rounding in one pass.")),
        Term("x_scale", "x_scale", say("The scale of the convolution's input."),
             f"x_scale = max|x| / {high}"),
        Term("w_scale", "w_scale", say("The scale of the convolution's weights."),
             f"w_scale = max|weight| / {high}"),
        Term("b_scale", "b_scale", say("The scale of the convolution's bias."),
             f"b_scale = max|bias| / {high}"),
        Term("scale_wx", "scale_wx", say("What one unit of the accumulator is worth."),
             "scale_wx = x_scale · w_scale"),
        Term("v", say("SiLU input v"), say("The convolution's output, in real units."),
             "v = scale_wx · acc + bias"),
        Term("silu", "SiLU",
             say("The activation after the convolution. It lets positive values through and "
                 "presses negative ones towards 0; it never goes below {least}.",
                 least=signed(SILU_MIN, 4)),
             "SiLU(v) = v / (1 + e⁻ᵛ)"),
        Term("y", say("SiLU output y"), say("What the kernel writes, as codes."), "y = SiLU(v)"),
        Term("x_out_scale", "x_out_scale", say("The scale of the kernel's output, calibrated."),
             f"x_out_scale = amax / {high}"),
        Term("stranded", say("stranded codes"),
             say("Negative codes below SiLU's least value: nothing ever gets them."),
             f"q < {signed(SILU_MIN, 4)} / scale"),
        Term("symmetric", say("symmetric"),
             say("A scale that spans as far below 0 as above, so that 0 is code 0.")),
        Term("asymmetric", say("asymmetric"),
             say("A scale with a zero point: all codes lie between the least and the greatest "
                 "value."),
             "q = round(v / scale) + zero_point"),
        Term("calibration", say("calibration"),
             say("Running the model on sample text to see which values really occur.")),
        Term("observer", say("scale rule (observer)"),
             say("How amax is chosen from the values seen in calibration.")),
        Term("minmax", "MinMax", say("amax is the greatest magnitude seen."), "amax = max|y|"),
        Term("percentile", say("percentile"),
             say("amax is the value that a share α of all magnitudes stays below."),
             "amax = quantile(|y|, α)"),
        Term("alpha", "α", say("The share of the magnitudes that the range is to hold."),
             "0 < α ≤ 1"),
        Term("ema", say("moving average"),
             say("Quamba's observer folds each batch's percentile into a running mean, with "
                 "σ = {sigma}.", sigma=DEFAULT_SIGMA),
             "m ← m + σ · (q − m)"),
        Term("outlier", say("outlier"), say("A rare value far larger than the others.")),
        Term("mean_error", say("mean error"), say("The average distance from value to code."),
             "mean |v̂ − v|"),
        Term("mse", say("mean squared error"),
             say("The average squared distance. Rounding and clipping add up to it."),
             "rounding_mse + clipping_mse"),
        Term("sqnr", say("SQNR (sqnr_db)"),
             say("Signal to quantization noise, in decibels: higher is better; 6 dB halve the "
                 "error."),
             "10 · log₁₀(Σ y² / Σ (ŷ − y)²)"),
        Term("top_code_utilization", "top_code_utilization",
             say("The published utilization: how high the largest code is, whatever lies between."),
             f"max|q| / {high}"),
        Term("code_utilization", "code_utilization",
             say("How many of the codes occur at all."), "distinct codes / 256"),
        Term("ratio_weight", "ratio_weight",
             say("The published ratio: an activation's scale over a weight's scale."),
             "x_out_scale / w_scale"),
        Term("ratio_wx", "ratio_wx",
             say("The like-for-like ratio: output scale over accumulator scale."),
             "x_out_scale / (x_scale · w_scale)"),
        Term("slice", say("slice"),
             say("In Mamba-2 one convolution runs over x, B and C; each slice has its own "
                 "scales.")),
        Term("ssd_group", say("SSD group"),
             say("Heads of Mamba-2 that share their B and C.")),
        Term("head_group", say("head group"),
             say("Heads that Quamba2 puts together because their values have like ranges.")),
        Term("channel_group", say("channel group"),
             say("Channels within those heads, put together for the same reason.")),
        Term("published_analysis", say("published analysis"),
             say("Two notes in Chinese in the public repository Quamba-SE, which argue for scales "
                 "by a percentile with figures of two Quamba2 checkpoints. The page Claims quotes "
                 "them, line by line.")),
        Term("pooled", say("pooled"),
             say("Counted over all calibration batches together, before a quantile is taken.")),
        Term("zero_point", "zero_point",
             say("The code that stands for 0. A symmetric scale has it at code 0."),
             "q = round(v / scale) + zero_point"),
        Term("scale_out", "scale_out",
             say("What the kernel's arguments call x_out_scale."), "scale_out = x_out_scale"),
        Term("mse_rule", say("least squared error (rule mse)"),
             say("amax with the least squared error over all values seen."),
             "amax = argmin Σ (ŷ − y)²"),
        Term("entropy", say("entropy (rule)"),
             say("amax at which the codes' distribution is nearest to the values', by KL "
                 "divergence, as TensorRT's calibrator chooses it."),
             "amax = argmin KL(values ‖ codes)"),
        Term("conv_absmax", "conv-absmax",
             say("A baseline: the greatest magnitude before SiLU, as if SiLU changed nothing."),
             "amax = max|v|"),
        Term("aciq", say("ACIQ (rule aciq)"),
             say("amax with the least expected error if the values had a Laplace distribution, "
                 "which takes no search."),
             f"amax = {CLIPPING:.3f} · mean |y − mean(y)|"),
        Term("kl_nats", "kl_nats",
             say("What quantizing costs the model: how far its predictions of the next token move "
                 "from the float model's, as KL divergence in nats for each token. One nat is "
                 "{bits} bits.", bits=f"{1 / math.log(2):.2f}"),
             "Σ p · ln(p / p_quantized)"),
        Term("effective_bits", "effective_bits",
             say("How many bits the codes carry: the entropy of how often each occurs."),
             "−Σ p · log₂ p"),
        Term("best_alpha", say("best α (best_alpha)"),
             say("The α with the highest SQNR of a layer; each layer has its own.")),
        Term("gain_db", "gain_db",
             say("What the best α has over the chosen scale, in decibels of SQNR."),
             "gain_db = sqnr_db(best α) − sqnr_db"),
    )  # fmt: skip
    return {entry.key: entry for entry in entries}

"""What α costs a model in nats, as two steps of the lesson look at it: guessed first, then seen."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.loss_over_alpha import LossOverAlpha
from dashboard.lesson.calibrated import Activations, CalibratedModel
from dashboard.refusals import Refusal
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule

ALPHAS = (0.9, 0.99, 0.999, *PUBLISHED_ALPHAS, 0.9999, 1.0)


def alphas_of(model: CalibratedModel, more: Sequence[float] = ()) -> tuple[float, ...]:
    """Those that every layer's landscape tried: few values leave no room for the greatest."""
    tried = set.intersection(*(set(layer.landscape.alphas.tolist()) for layer in model.layers))
    return tuple(sorted({*ALPHAS, *more} & tried))


def loss_over_alpha(model: CalibratedModel, alphas: Sequence[float]) -> LossOverAlpha:
    """Measured now, where it was not before.

    Raises Refusal for a calibration file, and what ``Activations.costs`` raises.
    """
    rules = [ScaleRule("percentile", alpha) for alpha in alphas]
    costs = activations_of(model).costs(rules)
    return LossOverAlpha(
        tuple(alphas),
        tuple(model.mean_loss_db(alpha) for alpha in alphas),
        tuple(costs[rule] for rule in rules),
    )


def activations_of(model: CalibratedModel) -> Activations:
    """What a model ran on; raises Refusal for a calibration file, which has none."""
    if model.activations is None:
        raise Refusal("A calibration file has no model to run. Choose a checkpoint.")
    return model.activations

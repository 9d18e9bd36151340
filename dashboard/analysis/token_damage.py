"""A text through the float model and a quantized one: where their next tokens differ, and how.

For every token of the text but the first, both models have said, from what stands before it, what
comes next. The damage at that token is KL(float ‖ quantized) of the two, in nats. Tokens are given
as the characters that they are; where a character takes several tokens, as beyond ASCII in a model
that reads bytes, they stand together and their damage is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashboard.analysis.impact import compare_logits, window_logits
from dashboard.analysis.quantized_forward import LayerQuantization, quantized_outputs
from dashboard.checkpoints import Checkpoint, backbone_of

CHOICES = 4  # of the most likely next tokens, from each model
LONGEST = 4  # tokens that make one character: UTF-8 has no longer ones
UNDECODED = "\ufffd"

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Choice:
    """A next token, and its probability in both models."""

    token: str
    float_share: float
    quantized_share: float


@dataclass(frozen=True)
class TokenDamage:
    """A piece of the text, and what was said before it was seen.

    Of the first piece, before which nothing was said, the damage is None and there are no choices.
    """

    text: str
    kl_nats: float | None
    delta_nats: float | None  # by how much the loss at this piece rises
    choices: tuple[Choice, ...]  # the float model's most likely first, then the quantized one's

    @property
    def keeps_top(self) -> bool:
        """Whether the most likely next token is the same in both models."""
        if not self.choices:
            return True
        by_float = max(self.choices, key=lambda choice: choice.float_share)
        return by_float == max(self.choices, key=lambda choice: choice.quantized_share)


def token_damage(
    checkpoint: Checkpoint,
    model: nn.Module,
    ids: Tensor,
    quantizations: Sequence[LayerQuantization],
    decode: Decode,
    mode: str = "output",
) -> tuple[TokenDamage, ...]:
    """The damage at every piece of one text.

    Args:
        ids: (L,) tokens, 2 at least.
        decode: token ids to text, ``UNDECODED`` for what is no whole character.

    Raises CalibrationError where the model cannot be run, ValueError for another mode.
    """
    ours = window_logits(checkpoint, model, ids)
    with quantized_outputs(checkpoint, backbone_of(model), quantizations, mode):
        theirs = window_logits(checkpoint, model, ids)
    kl, delta, _ = compare_logits(ours, theirs, ids)
    tokens = ids.tolist()
    pieces = []
    for first, last in _characters(tokens, decode):
        text = decode(tokens[first:last])
        if first == 0:
            # The tokens after the first of a character at the very beginning were predicted.
            pieces.append(TokenDamage(text, None, None, ()))
            continue
        pieces.append(
            TokenDamage(
                text,
                math.fsum(kl[first - 1 : last - 1]),
                math.fsum(delta[first - 1 : last - 1]),
                _choices(ours[first - 1], theirs[first - 1], decode),
            )
        )
    return tuple(pieces)


def _characters(tokens: Sequence[int], decode: Decode) -> list[tuple[int, int]]:
    """Runs of tokens [first, last) that are text together; what never is, is a run of one."""
    runs, first = [], 0
    while first < len(tokens):
        last = first + 1
        for end in range(first + 1, min(first + LONGEST, len(tokens)) + 1):
            if UNDECODED not in decode(tokens[first:end]):
                last = end
                break
        runs.append((first, last))
        first = last
    return runs


def _choices(ours: Tensor, theirs: Tensor, decode: Decode) -> tuple[Choice, ...]:
    """The likeliest next tokens of each model, (V,) logits each, with both probabilities."""
    p, q = (torch.softmax(logits.to(torch.float64), dim=-1) for logits in (ours, theirs))
    count = min(CHOICES, len(p))
    wanted = [*p.topk(count).indices.tolist(), *q.topk(count).indices.tolist()]
    return tuple(
        Choice(_shown(token, decode), float(p[token]), float(q[token]))
        for token in dict.fromkeys(wanted)
    )


def _shown(token: int, decode: Decode) -> str:
    """A token as text; one that is none by itself by its number."""
    text = decode([token])
    return f"#{token}" if UNDECODED in text or not text else text

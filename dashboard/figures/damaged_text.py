"""A text whose characters are coloured by their damage: what the page's component shows.

No plotly figure: a text is read, selected and wrapped by the browser. What stands here is data, all
words put into the reader's language and all numbers written, so that the component only places
them. The colour deepens with the square root of the damage, or one character in ten thousand would
be all that shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dashboard.analysis.token_damage import TokenDamage
from dashboard.text.captions.costs import damage_caption
from dashboard.text.language import Language
from dashboard.text.numbers import percent, small

DEEPEST = 0.7  # opacity of the colour at the greatest damage
VISIBLE = {"\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍"}


def damaged_text(pieces: Sequence[TokenDamage], say: Language) -> dict[str, Any]:
    """``alt``, ``pieces``, ``legend`` and ``columns``, JSON through and through.

    A piece has its ``text``, its ``shade`` from 0 to ``DEEPEST``, whether the most likely token
    ``changed``, and what is told of it: ``head``, ``nats`` and ``choices``, a row a token with its
    probability in both models.
    """
    most = max((piece.kl_nats or 0.0 for piece in pieces), default=0.0)
    return {
        "alt": say(
            "A text, coloured by its damage. {finding}", finding=damage_caption(pieces, say)
        ),
        "hint": say("Point at a character, or walk through the text with the arrow keys."),
        "columns": [say("next token"), say("float"), say("INT8")],
        "legend": [
            {"shade": _shade(share * most, most), "text": small(share * most)}
            for share in (0.0, 0.01, 0.1, 1.0)
        ],
        "unit": "nats",
        "pieces": [_piece(piece, most, say) for piece in pieces],
    }


def _piece(piece: TokenDamage, most: float, say: Language) -> dict[str, Any]:
    if piece.kl_nats is None or piece.delta_nats is None:
        return {
            "text": piece.text,
            "shade": 0.0,
            "changed": False,
            "head": say("“{text}” begins the text; nothing was predicted.", text=seen(piece.text)),
            "choices": [],
        }
    return {
        "text": piece.text,
        "shade": _shade(piece.kl_nats, most),
        "changed": not piece.keeps_top,
        "head": say(
            "“{text}”: {nats} nats of KL; the loss here changes by {delta}",
            text=seen(piece.text),
            nats=small(piece.kl_nats),
            delta=small(piece.delta_nats),
        ),
        "choices": [
            [seen(choice.token), percent(choice.float_share), percent(choice.quantized_share),
             choice.token == piece.text]
            for choice in piece.choices
        ],
    }  # fmt: skip


def _shade(nats: float, most: float) -> float:
    return round(DEEPEST * float(np.sqrt(nats / most)), 3) if most > 0 else 0.0


def seen(text: str) -> str:
    """A token with its spaces and line feeds made visible."""
    return "".join(VISIBLE.get(sign, sign) for sign in text)

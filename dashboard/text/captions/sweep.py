"""α sweep: the best α, the one to use, and what other kinds of scale buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.messages import Message
from dashboard.rules.landscape import Landscape, Recommendation
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, small


def recommendation(recommended: Recommendation, say: Language) -> str:
    """One α for the model, with the reason."""
    if recommended.by == "predicted_nats":
        return _recommendation_by_loss(recommended, say)
    alpha, worst = recommended.alpha, recommended.worst
    where = say("layer {layer}", layer=worst.layer)
    if len({choice.slice for choice in recommended.layers}) > 1:
        where = say("layer {layer}, slice {slice}", layer=worst.layer, slice=worst.slice)
    others = (*((f"α = {format_alpha(a)}", a) for a in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    values = {
        "layers": len({choice.layer for choice in recommended.layers}),
        "alpha": format_alpha(alpha),
        "mean": decibels(recommended.mean_loss_db(alpha)),
        "most": decibels(worst.loss_db[alpha]),
        "where": where,
        "others": say.listed(
            say("{choice} {loss}", choice=name, loss=decibels(recommended.mean_loss_db(a), 1))
            for name, a in others
        ),
    }  # fmt: skip
    if recommended.symmetric:
        return say(
            "One α for all {layers} layers: **{alpha}**. Against each layer's own best it loses "
            "{mean} on average and at most {most} ({where}); on average the others lose: {others}.",
            **values,
        )
    return say(
        "One α for all {layers} layers, asymmetric: **{alpha}**. Against each layer's own best it "
        "loses {mean} on average and at most {most} ({where}); on average the others lose: "
        "{others}.",
        **values,
    )


def _recommendation_by_loss(recommended: Recommendation, say: Language) -> str:
    """The same in nats: what it costs beyond each slice's own best, all added up."""
    alpha, worst = recommended.alpha, recommended.worst
    excess = worst.excess_nats or {}
    others = (*((f"α = {format_alpha(a)}", a) for a in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    values = {
        "layers": len({choice.layer for choice in recommended.layers}),
        "alpha": format_alpha(alpha),
        "nats": small(recommended.total_excess_nats(alpha) or 0.0),
        "most": small(excess.get(alpha, 0.0)),
        "where": say("layer {layer}, slice {slice}", layer=worst.layer, slice=worst.slice),
        "others": say.listed(
            say("{choice} {loss}", choice=name, loss=small(recommended.total_excess_nats(a) or 0.0))
            for name, a in others
        ),
    }
    if recommended.symmetric:
        return say(
            "One α for all {layers} layers, by predicted loss: **{alpha}**. It is predicted to "
            "cost {nats} nats more than each slice's own best together, at most {most} ({where}); "
            "the others: {others}.",
            **values,
        )
    return say(
        "One α for all {layers} layers, asymmetric, by predicted loss: **{alpha}**. It is "
        "predicted to cost {nats} nats more than each slice's own best together, at most {most} "
        "({where}); the others: {others}.",
        **values,
    )


def sweep_verdict(landscape: Landscape, say: Language) -> str:
    """The best α, and what it gains over the published two and MinMax."""
    if landscape.by == "predicted_nats":
        return _verdict_by_loss(landscape, say)
    others = (*((format_alpha(alpha), alpha) for alpha in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    gains = say.listed(
        say("{gain} over {other}", gain=decibels(landscape.loss_db(alpha)), other=name)
        for name, alpha in others
    )
    return say(
        "Best α {alpha}: {sqnr}, {gains}.",
        alpha=format_alpha(landscape.best_alpha),
        sqnr=decibels(landscape.best_db),
        gains=gains,
    )


def _verdict_by_loss(landscape: Landscape, say: Language) -> str:
    others = (*((format_alpha(alpha), alpha) for alpha in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    return say(
        "Best α {alpha} by predicted loss: {nats} nats, {gains}.",
        alpha=format_alpha(landscape.best_alpha),
        nats=small(landscape.best_nats or 0.0),
        gains=say.listed(
            say("{nats} less than {other}", nats=small(landscape.excess_nats(alpha) or 0.0),
                other=name)
            for name, alpha in others
        ),
    )  # fmt: skip


def cost_caption(landscape: Landscape, say: Language) -> str:
    """How wide the valley of predicted cost is, and where SQNR has its peak."""
    first, last = landscape.costs_at_most(NEAR)
    peak = int(np.nanargmax(landscape.sqnr_db))
    return say.sentences(
        "" if landscape.symmetric else say("Asymmetric scales."),
        say(
            "From α {first} to {last} the predicted cost stays within {share} of the least; SQNR "
            "is greatest at {peak}, which is predicted to cost {nats} nats.",
            first=format_alpha(first),
            last=format_alpha(last),
            share=percent(NEAR),
            peak=format_alpha(float(landscape.alphas[peak])),
            nats=small(float(np.asarray(landscape.predicted_nats)[peak])),
        ),
    )


NEAR = 0.1  # more than the least: a cost that hardly differs


def recommendation_rows(recommended: Recommendation, say: Language) -> list[dict]:
    """A row a layer and slice: its best α, and what others lose there."""
    others = {say("α {alpha} loses", alpha=format_alpha(recommended.alpha)): recommended.alpha}
    for alpha in PUBLISHED_ALPHAS:
        others[say("{choice} loses", choice=format_alpha(alpha))] = alpha
    others[say("{choice} loses", choice="MinMax")] = 1.0
    return [
        {
            say("layer"): choice.layer,
            say("slice"): choice.slice,
            say("best α"): format_alpha(choice.alpha),
            "x_out_scale": scale_text(choice.x_out_scale),
            "SQNR": decibels(choice.sqnr_db),
            **(
                {
                    "predicted_nats": small(choice.predicted_nats),
                    **{
                        header: f"{small(choice.excess_nats[alpha])} nats"
                        for header, alpha in others.items()
                    },
                }
                if recommended.by == "predicted_nats"
                and choice.excess_nats is not None
                and choice.predicted_nats is not None
                else {header: decibels(choice.loss_db[alpha]) for header, alpha in others.items()}
            ),
        }
        for choice in recommended.layers
    ]


def alpha_sweep_caption(landscape: Landscape, rows: Sequence[ScaleReport], say: Language) -> str:
    """Where effective bits and SQNR are greatest, and which rules lie outside of the axis."""
    bits = landscape.output.effective_bits
    richest = int(np.argmax(bits))
    peak = landscape.best if landscape.by == "sqnr_db" else int(np.nanargmax(landscape.sqnr_db))
    beyond = [say(row.short) for row in rows if row.x_out_scale > landscape.scales[-1]]
    below = [say(row.short) for row in rows if row.x_out_scale < landscape.scales[0]]
    return say.sentences(
        say(
            "Effective bits are greatest at α {richest} ({most}), SQNR at {best} ({bits} bits).",
            richest=format_alpha(float(landscape.alphas[richest])),
            most=f"{float(bits[richest]):.2f}",
            best=format_alpha(float(landscape.alphas[peak])),
            bits=f"{float(bits[peak]):.2f}",
        ),
        say("In the right margin, beyond every value: {rules}.", rules=say.listed(beyond))
        if beyond
        else "",
        say(
            "In the left margin, below the {alpha}-quantile: {rules}.",
            alpha=format_alpha(float(landscape.alphas[0])),
            rules=say.listed(below),
        )
        if below
        else "",
    )


def kind_rows(kinds: Sequence[tuple[str, dict[str, float]]], say: Language) -> list[dict]:
    """A row a kind of scale, a column a rule: SQNR, or a dash where a rule is not defined.

    Args:
        kinds: each kind's name, and its SQNR in dB by the rule's name.
    """
    rules = list(dict.fromkeys(rule for _, sqnr_db in kinds for rule in sqnr_db))
    return [
        {say("scale"): say(name)}
        | {rule: decibels(sqnr_db[rule]) if rule in sqnr_db else "–" for rule in rules}
        for name, sqnr_db in kinds
    ]


def kinds_caption(
    kinds: Sequence[tuple[str, dict[str, float]]], bests: Mapping[str, Landscape], say: Language
) -> str:
    """What each kind buys over one symmetric scale a tensor, by the least squared error.

    Args:
        kinds: as of ``kind_rows``; the first is one symmetric scale.
        bests: the landscapes whose best α the percentiles took, by kind.
    """
    base = kinds[0][1]["mse"]
    gains = say.clauses(
        say("{kind} {gain}", kind=say(name), gain=decibels(sqnr_db["mse"] - base, 1))
        for name, sqnr_db in kinds[1:]
    )
    alphas = say.both(
        [
            say("{alpha} {kind}", alpha=format_alpha(landscape.best_alpha), kind=say(kind))
            for kind, landscape in bests.items()
        ]
    )
    return say(
        "By mse, against one symmetric scale per tensor: {gains}. Percentiles are at the tensor's "
        "best α: {alphas}.",
        gains=gains,
        alphas=alphas,
    )


NO_CHANNELS = Message(
    "A calibration file holds no single channels; choose its checkpoint to see them."
)

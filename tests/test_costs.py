"""What layers, α, rules and tokens cost: records, captions and figures, against numpy and loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import half_away
from test_charts import check_meta, drawn_in_a_browser, hovers

from dashboard import figures
from dashboard.analysis import proxies as trust
from dashboard.analysis.alpha_costs import AlphaCosts, alpha_landscape
from dashboard.analysis.impact import Estimate, Impact, float_run, measure
from dashboard.analysis.layer_costs import LayerCosts, layer_costs, layer_settings
from dashboard.analysis.measurements import Measurements, Setting, measure_settings
from dashboard.analysis.prediction import plan_layers
from dashboard.analysis.quantized_forward import quantized_outputs
from dashboard.analysis.token_damage import Choice, TokenDamage, token_damage
from dashboard.calibration import calibrate, decoder, read_text, whole_text
from dashboard.calibration.capture import CalibrationError
from dashboard.checkpoints import backbone_of, load_checkpoint, load_language_model
from dashboard.figures.damaged_text import DEEPEST, damaged_text
from dashboard.rules.landscape import Landscape, landscapes
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH, language

RULE = ScaleRule("percentile", 0.999)


@pytest.fixture(scope="module")
def tiny():
    checkpoint = load_checkpoint("mamba2-tiny")
    model = load_language_model(checkpoint, "cpu")
    counted = calibrate(
        checkpoint, model, read_text(checkpoint, batches=2, seq_len=64), gradients=True
    )
    run = float_run(checkpoint, model, read_text(checkpoint, batches=3, seq_len=64, first=2))
    return checkpoint, model, counted, run


@pytest.fixture
def asked(tiny):
    """Measurements that know nothing yet, and what becomes known."""
    checkpoint, _, counted, run = tiny
    known: dict[str, Impact] = {}
    plans: dict = {}

    def plan(rule):
        if rule not in plans:
            plans[rule] = plan_layers(checkpoint, counted, rule)
        return plans[rule]

    return Measurements(run, "output", plan, known.get), known


def measured(tiny, asked, settings, seconds=1e9):
    checkpoint, model, _, _ = tiny
    measurements, known = asked
    for key, impact in measure_settings(
        checkpoint, model, measurements, measurements.missing(settings), (0, 0.0), seconds
    ):
        known[key] = impact


# Records


def test_settings_of_the_same_scales_are_one_and_what_is_known_is_not_missing(tiny, asked):
    measurements, _ = asked
    layers = (0, 1, 2, 3)
    settings = layer_settings(measurements, RULE, layers)
    missing = measurements.missing(settings.all)
    # 4 alone, 4 left out, 4 added one by one: the first added is one alone, the first three are all
    # but the last.
    assert len(settings.all) == 13 and len(missing) == 10
    measured(tiny, asked, missing, seconds=0.0)  # one is measured at least
    assert len(measurements.missing(settings.all)) == 9
    everything = Setting(RULE, layers)
    assert measurements.impact(everything) is not None and everything not in measurements.missing(
        [everything]
    )


def test_layer_costs_are_the_differences_of_plain_measurements(tiny, asked):
    checkpoint, model, counted, run = tiny
    measurements, _ = asked
    layers = (0, 1, 2, 3)
    measured(tiny, asked, layer_settings(measurements, RULE, layers).all)
    costs = layer_costs(measurements, RULE, layers)
    planned = plan_layers(checkpoint, counted, RULE)

    def kl(chosen):
        quantized = [planned[layer].quantization for layer in chosen]
        return measure(checkpoint, model, run, quantized).kl.mean(1)

    whole = kl(layers)
    predictions = [planned[layer].predicted_nats for layer in layers]
    assert costs.predicted_nats == pytest.approx(predictions)
    assert list(costs.order) == sorted(range(4), key=lambda i: -predictions[i])
    for place, layer in enumerate(layers):
        alone, saved = costs.alone_nats(place, "kl_nats"), costs.saved_nats(place, "kl_nats")
        assert alone.mean == pytest.approx(kl([layer]).mean(), rel=1e-9)
        gap = whole - kl([other for other in layers if other != layer])
        assert saved.mean == pytest.approx(gap.mean(), rel=1e-9)
        assert saved.error == pytest.approx(gap.std(ddof=1) / np.sqrt(3), rel=1e-9)
    ordered = [layers[place] for place in costs.order]
    for count in (1, 2, 3, 4):
        total, step = costs.total_nats(count, "kl_nats"), costs.step_nats(count, "kl_nats")
        now, before = kl(sorted(ordered[:count])), 0.0
        if count > 1:
            before = kl(sorted(ordered[: count - 1]))
        assert total.mean == pytest.approx(now.mean(), rel=1e-9)
        assert step.mean == pytest.approx((now - before).mean(), rel=1e-6)
    assert costs.predicted_first(2) == pytest.approx(sum(sorted(predictions)[-2:]))


def test_every_alpha_is_predicted_as_its_slices_add_up_and_both_bests_are_measured(tiny, asked):
    _, _, counted, _ = tiny
    measurements, _ = asked
    chosen = [layer for layer in counted.layers if layer.layer in (1, 3)]
    by_sqnr, by_loss = (
        {key: own for key, own in landscapes(counted, by=by).items() if key[0] in (1, 3)}
        for by in ("sqnr_db", "predicted_nats")
    )
    landscape = alpha_landscape(by_sqnr, by_loss)
    assert landscape.layers == (1, 3)
    for i in (0, len(landscape.alphas) // 2, -1):
        alpha = float(landscape.alphas[i])
        expected = 0.0
        for layer in chosen:
            for own in layer.slices:
                values = own.silu_output.values.astype(np.float64)
                counts = own.silu_output.counts
                pooled = torch.from_numpy(np.repeat(np.abs(values), counts))
                scale = max(np.float32(torch.quantile(pooled, alpha).item() / 127), 1e-6)
                codes = np.clip(half_away(values / scale), -128, 127)
                error = codes * scale - values
                expected += 0.5 * (own.gradients.squares * error**2).sum() / own.gradients.tokens
        assert landscape.predicted_nats[i] == pytest.approx(expected, rel=1e-4)  # float32 scales
    least = landscape.alphas[np.argmin(landscape.predicted_nats)]
    assert landscape.best_by_loss == least
    assert {landscape.best_by_sqnr, landscape.best_by_loss, 0.9995, 1.0} <= set(
        landscape.settings()
    )
    measured(tiny, asked, [landscape.settings()[1.0]])
    costs = landscape.with_measured(measurements)
    assert list(costs.known) == [1.0]
    assert costs.predicted_at(1.0) == landscape.predicted_nats[-1]


def test_proxies_rank_as_pandas_does_and_sqnr_is_of_the_layers_slices_together(tiny, asked):
    _, _, counted, _ = tiny
    measurements, _ = asked
    layers = {layer.layer: layer for layer in counted.layers if layer.layer < 2}
    settings = trust.proxy_settings(sorted(layers))
    assert len(settings) == 14
    measured(tiny, asked, settings)
    known = trust.proxies(measurements, layers)
    assert len(known.points) == known.asked == 14
    kl = [point.measured.mean for point in known.points]
    predicted = [point.predicted_nats for point in known.points]
    assert known.prediction_rank == pytest.approx(
        pd.Series(predicted).rank().corr(pd.Series(kl).rank())
    )
    sqnr = [point.sqnr_db for point in known.points]
    assert known.sqnr_rank == pytest.approx(-pd.Series(sqnr).rank().corr(pd.Series(kl).rank()))
    assert known.middle_ratio == pytest.approx(np.median(np.divide(predicted, kl)))
    (point,) = [p for p in known.points if p.layer == 1 and p.rule == ScaleRule("minmax")]
    signal = noise = 0.0
    for own in layers[1].slices:
        values = np.repeat(own.silu_output.values.astype(np.float64), own.silu_output.counts)
        scale = np.float64(np.float32(np.abs(values).max() / 127))
        error = np.clip(half_away(values / scale), -128, 127) * scale - values
        signal, noise = signal + (values**2).sum(), noise + (error**2).sum()
    assert point.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


# The text


def test_the_damage_of_a_text_is_kl_at_the_character_that_was_to_come(tiny):
    checkpoint, model, counted, _ = tiny
    words = "Vào năm 1984, 他说 €5.\n"
    ids = whole_text(checkpoint, words, 512).tokens[0]
    planned = plan_layers(checkpoint, counted, RULE)
    quantized = [entry.quantization for entry in planned.values()]
    pieces = token_damage(checkpoint, model, ids, quantized, decoder(checkpoint))
    assert [piece.text for piece in pieces] == list(words)  # bytes of one character stand together
    with torch.no_grad():
        p = torch.log_softmax(model(ids[None]).logits[0].double(), -1)
        with quantized_outputs(checkpoint, backbone_of(model), quantized):
            q = torch.log_softmax(model(ids[None]).logits[0].double(), -1)
    kl = (p.exp() * (p - q)).sum(-1)
    at = 0
    for piece, sign in zip(pieces, words, strict=True):
        width = len(sign.encode())
        if at:
            # float32 logits: what remains of differences of logarithms near 10
            assert piece.kl_nats == pytest.approx(
                float(kl[at - 1 : at - 1 + width].sum()), abs=1e-9
            )
            lost = sum(
                float(p[at - 1 + i, ids[at + i]] - q[at - 1 + i, ids[at + i]]) for i in range(width)
            )
            assert piece.delta_nats == pytest.approx(lost, abs=1e-9)
            first = max(piece.choices, key=lambda choice: choice.float_share)
            assert first.float_share == pytest.approx(float(p[at - 1].exp().max()), rel=1e-9)
            top = int(p[at - 1].argmax())
            assert first.token == (chr(top) if top < 128 else f"#{top}")
            assert piece.keeps_top == (top == int(q[at - 1].argmax()))
        at += width
    assert pieces[0].kl_nats is None and pieces[0].choices == ()


def test_a_text_of_one_token_is_refused(tiny):
    with pytest.raises(CalibrationError, match="has 1 tokens; give 2 at least"):
        whole_text(tiny[0], "a", 512)
    assert whole_text(tiny[0], "abcdef", 4).tokens.tolist() == [[97, 98, 99, 100]]


def test_a_damaged_text_is_shaded_by_the_root_of_its_damage():
    choices = (Choice("a", 0.5, 0.4), Choice("\n", 0.3, 0.5))
    pieces = (
        TokenDamage("<b>", None, None, ()),
        TokenDamage("a", 0.04, -0.1, choices),
        TokenDamage(" ", 0.01, 0.2, choices[:1]),
    )
    shown = damaged_text(pieces, ENGLISH)
    assert [piece["shade"] for piece in shown["pieces"]] == [0.0, DEEPEST, DEEPEST / 2]
    assert [piece["changed"] for piece in shown["pieces"]] == [False, True, False]
    assert shown["pieces"][1]["choices"] == [
        ["a", "50 %", "40 %", True],
        ["↵", "30 %", "50 %", False],
    ]
    assert shown["pieces"][1]["head"] == "“a”: 0.0400 nats of KL; the loss here changes by −0.100"
    assert shown["pieces"][0]["text"] == "<b>"  # the browser enters it as text
    assert "half of the damage falls on 1 of 2, the most on one: 0.0400" in shown["alt"]
    assert "At 1 the most likely next token is another" in shown["alt"]


# Figures


def impact_of(mean: float, spread: float, windows: int = 4, seed: int = 0) -> Impact:
    """Windows around a mean; a spread of 0 gives windows that agree."""
    shares = np.random.default_rng(seed).normal(0, 1, (windows, 6))
    kl = np.abs(mean * (1 + spread * shares))
    delta = mean * spread * shares
    return Impact(kl, delta, shares > 0)


@st.composite
def costs(draw) -> LayerCosts:
    count = draw(st.sampled_from([1, 2, 6, 64]))
    around = draw(st.sampled_from([1e-9, 1e-4, 0.3]))
    spread = draw(st.sampled_from([0.0, 0.1, 3.0]))
    predicted = [around * (1 + i % 5) for i in range(count)]
    if draw(st.booleans()):
        predicted = [None] * count
    known = draw(st.sampled_from(["nothing", "some", "all"]))

    def some(offset):
        return tuple(
            impact_of(around * (1 + (i + offset) % 7), spread, seed=i)
            if known == "all" or (known == "some" and i % 2)
            else None
            for i in range(count)
        )

    order = tuple(sorted(range(count), key=lambda i: -(predicted[i] or 0)))
    without = some(3) if count > 1 else (None,)
    return LayerCosts(RULE, "output", tuple(range(0, 3 * count, 3)), tuple(predicted), order,
                      some(0), without, some(5))  # fmt: skip


LANGUAGES = st.sampled_from(["en", "zh-CN"])


@drawn_in_a_browser
@given(costs(), st.sampled_from(["kl_nats", "delta_nats"]), LANGUAGES)
def test_layers_and_their_costs_can_be_read(paper, known, unit, code):
    figure = figures.impact_layers(known, unit, language(code))
    check_meta(figure)
    assert len(figure.layout.meta["picks"]) == len(known.layers)
    paper.check(figure)


@st.composite
def alpha_costs(draw) -> AlphaCosts:
    alphas = np.array([0.5, 0.9, 0.99, 0.999, 0.9995, 0.99985, 0.9999, 0.99999, 1.0])
    around = draw(st.sampled_from([1e-9, 1e-4, 0.3]))
    predicted = around * np.array([9e3, 900, 80, 9, 3, 2, 2.2, 2.5, 3])
    measured = {
        alpha: impact_of(around * factor, draw(st.sampled_from([0.0, 0.2, 2.0])), seed=i)
        for i, (alpha, factor) in enumerate(zip(alphas.tolist(), predicted / around, strict=True))
        if draw(st.booleans())
    }
    by_loss = draw(st.sampled_from([None, 0.99985, 0.9999]))
    return AlphaCosts((0, 1), True, alphas, None if by_loss is None else predicted, measured,
                      0.9999, by_loss)  # fmt: skip


@drawn_in_a_browser
@given(alpha_costs(), st.sampled_from([None, 0.9995, 1.0, 0.5]), LANGUAGES)
def test_costs_over_alpha_can_be_read(paper, known, alpha, code):
    figure = figures.impact_alpha(known, language(code), alpha=alpha)
    check_meta(figure)
    paper.check(figure)


@st.composite
def known_proxies(draw) -> trust.Proxies:
    around = draw(st.sampled_from([1e-9, 1e-4, 0.3]))
    points = [
        trust.ProxyPoint(
            layer,
            rule,
            Estimate(
                around * (1 + layer + i), draw(st.sampled_from([None, around / 5, around * 9]))
            ),
            draw(st.sampled_from([None, around / 7, around * (i + 2)])),
            draw(st.sampled_from([float("inf"), 12.0, 40.0])),
        )
        for layer in range(draw(st.sampled_from([1, 6])))
        for i, rule in enumerate(trust.RULES)
        if i < 2 or draw(st.booleans())
    ]
    return trust.Proxies(tuple(points), 42)


@drawn_in_a_browser
@given(known_proxies(), LANGUAGES)
def test_proxies_can_be_read(paper, known, code):
    figure = figures.impact_proxies(known, language(code))
    check_meta(figure)
    paper.check(figure)


def test_what_lies_within_its_error_is_hollow_and_grey_and_bars_are_one_standard_error():
    sure, unsure = impact_of(0.004, 0.0), impact_of(0.002, 0.0)
    noisy = Impact(np.array([[0.0], [0.1], [0.0], [0.0]]), np.zeros((4, 1)), np.ones((4, 1)) > 0)
    known = LayerCosts(RULE, "output", (2, 5), (0.003, 0.001), (0, 1), (sure, noisy),
                       (None, None), (sure, unsure))  # fmt: skip
    figure = figures.impact_layers(known, "kl_nats", ENGLISH)
    predicted, _, alone, *_ = figure.data
    assert list(predicted.y) == [0.003, 0.001]
    assert list(alone.y) == pytest.approx([0.004, 0.025])
    grey, page = figures.PALETTES["light"]["baseline"], figures.PALETTES["light"]["page"]
    ink = figures.PALETTES["light"]["chosen"]
    assert list(alone.marker.color) == [ink, page]
    assert list(alone.marker.line.color) == [ink, grey]
    assert list(alone.error_y.array) == pytest.approx([0.0, 0.05 / np.sqrt(4)])
    assert hovers(alone)[1].splitlines()[0].startswith("layer 5<br>alone: 0.025 ± 0.025 nats")
    assert "within its error" in hovers(alone)[1]
    assert "cannot be told" in figure.layout.meta["alt"]  # noise is not ranked


def test_the_curve_over_alpha_is_the_prediction_and_its_points_the_measurement():
    alphas = np.array([0.5, 0.9, 0.999, 1.0])
    known = AlphaCosts((0,), True, alphas, np.array([9.0, 0.3, 0.01, 0.02]),
                       {0.9: impact_of(0.2, 0.0), 1.0: impact_of(0.03, 0.0), 0.999: None},
                       1.0, 0.999)  # fmt: skip
    figure = figures.impact_alpha(known, ENGLISH)
    (curve,) = [trace for trace in figure.data if trace.name == "predicted"]
    assert list(curve.y) == pytest.approx([0.3, 0.01, 0.02])  # from 0.9 on
    assert list(curve.x[:2]) == pytest.approx([1.0, 3.0])  # -log10(1 - alpha)
    points = next(trace for trace in figure.data if trace.mode == "markers")
    assert list(points.y) == pytest.approx([0.2, 0.03])
    assert hovers(points)[1] == "α 1<br>measured: 0.0300 nats"
    assert "SQNR is greatest at α 1, predicted loss least at 0.999" in figure.layout.meta["alt"]


def test_captions_call_noise_noise():
    first, second = impact_of(0.01, 0.0), impact_of(0.002, 0.0)
    known = AlphaCosts((0,), True, np.array([0.99, 0.999, 1.0]), np.array([1.0, 0.1, 0.2]),
                       {0.999: second, 1.0: first}, 1.0, 0.999)  # fmt: skip
    caption = captions.alpha_cost_caption(known, ENGLISH)
    assert "SQNR's choice costs 0.00800 nats more" in caption
    assert "α 0.999 costs least: 0.00200 nats" in caption
    rng = np.random.default_rng(1)
    noisy = Impact(first.kl + rng.normal(0, 0.1, first.kl.shape), first.delta, first.same)
    known = AlphaCosts((0,), True, known.alphas, known.predicted_nats,
                       {0.999: first, 1.0: noisy}, 1.0, 0.999)  # fmt: skip
    caption = captions.alpha_cost_caption(known, ENGLISH)
    assert "which is noise" in caption and "cannot be told from it" in caption


def test_a_landscape_by_loss_stands_beside_one_by_sqnr(tiny):
    own = tiny[2].layer(0).slices[0]
    by_sqnr = Landscape.of(own.silu_output, gradients=own.gradients, by="sqnr_db")
    assert by_sqnr.best_alpha == Landscape.of(own.silu_output).best_alpha

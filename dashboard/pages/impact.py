"""Impact: what scales cost the model, layer by layer, over α, and character by character."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import figures
from dashboard.analysis.alpha_costs import alpha_landscape
from dashboard.analysis.budget import KINDS, BudgetPlan
from dashboard.analysis.impact import MeasuredSetting
from dashboard.analysis.layer_costs import LayerCosts, layer_costs, layer_settings
from dashboard.analysis.measurements import Measurements, Setting, Unit
from dashboard.analysis.proxies import proxies, proxy_settings
from dashboard.analysis.quantized_forward import MODES
from dashboard.export import quamba_entries, tables
from dashboard.export.costs import layer_cost_rows
from dashboard.export.impact import budget_document
from dashboard.figures.damaged_text import damaged_text
from dashboard.messages import Message
from dashboard.pages import calibrating, controls, costing, loading, measuring, speaking, studies
from dashboard.pages.controls import Choice
from dashboard.pages.damaged_text import show_damage
from dashboard.pages.exporting import export_bar, export_rows, origin_of, show_figure
from dashboard.pages.grid import show_layers
from dashboard.pages.measuring import Study, study_of
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import lead_to_layer, page
from dashboard.pages.remembering import STATE, keep, kept, switched, whole
from dashboard.pages.source_boxes import upload_form
from dashboard.pages.sources import text_choices
from dashboard.pages.waiting import Frame
from dashboard.refusals import Refusal
from dashboard.rules.observers import ALPHA_RULES
from dashboard.text import captions
from dashboard.text.language import Language

MOST_WINDOWS = 256
MODE_NAMES = {
    "output": Message("output"),
    "input": Message("input and weights"),
    "both": Message("both"),
}
UNITS = {"kl_nats": Message("KL"), "delta_nats": Message("loss")}
WHERE = {"all": Message("all layers"), "one": Message("layer {layer}")}
BUDGET = 0.001  # nats, of the first visit
LEAST_BUDGET, MOST_BUDGET = 1e-6, 10.0


@page(
    "impact",
    title=Message("Impact"),
    question=Message("What does a scale cost the model, in nats?"),
    group="scale",
    drawings=("impact_layers", "impact_alpha"),
)
def impact(frame: Frame, say: Language) -> None:
    """Predicted at once, measured step by step: layers, α, how far to trust, text, budget."""
    choice = controls.choose(
        frame,
        without={"slice": say("All slices of a layer are quantized together, each by its scale.")},
        gradients=True,
    )
    if choice.source.from_file:
        frame.progress.info(say(captions.NO_MODEL_FILE), icon=":material/info:")
        st.stop()
    with frame.own:
        held_out, mode = _held_out_box(choice, say)
    with refusals(frame):
        run = costing.float_run(held_out, lambda _: None)
    asked = costing.measurements(held_out, run, mode)
    everything = study_of(
        "everything", held_out, asked, (Setting(choice.rule, choice.outline.layers),)
    )
    studies = [
        everything,
        _show_layers(choice, held_out, asked, say),
        _show_alphas(choice, held_out, asked, say),
        _show_proxies(choice, held_out, asked, say),
    ]
    with refusals(frame):
        _show_text(choice, held_out, asked, say)
        outputs = costing.measurements(held_out, run, "output")
        studies.append(_show_budget(choice, held_out, outputs, frame, say))
    measuring.go_on(frame, studies)


def _held_out_box(choice: Choice, say: Language) -> tuple[costing.HeldOutText, str]:
    """What settings are judged on, and what of the kernel's roundings takes part."""
    kept("judged_on")
    name = st.selectbox(
        say("Judge on"),
        text_choices(),
        index=None,
        format_func=upload_form(say),
        key="judged_on",
        width=210,
        accept_new_options=True,
        placeholder=say("the text's next batches"),
        help=say(
            "Without a choice, the calibration text after the batches that were calibrated on. A "
            "text that comes with the project, or type the path of a UTF-8 file."
        ),
    )
    kept("windows", whole(1, MOST_WINDOWS))
    windows = st.number_input(
        say("Windows"),
        1,
        MOST_WINDOWS,
        costing.WINDOWS,
        key="windows",
        width=120,
        help=say(
            "Of as many tokens as a calibration batch. Errors are over windows: four times as many "
            "halve them."
        ),
    )
    mode = speaking.named(
        "mode", MODES, "output", say("INT8"), lambda option: say(MODE_NAMES[option])
    )
    held_out = costing.HeldOutText(
        choice.source, keep("judged_on", name) or "", int(keep("windows", windows, costing.WINDOWS))
    )
    return held_out, mode


def _show_layers(
    choice: Choice, held_out: costing.HeldOutText, asked: Measurements, say: Language
) -> Study:
    """Which layer costs most, by how much, and whether it is noise."""
    layers = choice.outline.layers
    settings = layer_settings(asked, choice.rule, layers)
    study = study_of("layers", held_out, asked, settings.all)
    costs = layer_costs(asked, choice.rule, layers)
    heading = st.container()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        named = speaking.named(
            "unit", tuple(UNITS), "kl_nats", say("Measured as"),
            lambda option: say(UNITS[option]), label_visibility="collapsed",
        )  # fmt: skip
        unit: Unit = "delta_nats" if named == "delta_nats" else "kl_nats"
        measuring.button(study, say)
    with heading:
        st.markdown(f"## {captions.layers_cost_headline(costs, unit, say)}")
        st.markdown(captions.layers_cost_verdict(costs, say))

    def open_layer() -> None:
        lead_to_layer(layers[STATE.impact_layers.picked], choice.rule)

    figure = figures.impact_layers(costs, unit, say)
    show_figure(figure, "impact_layers", choice, say, open_layer)
    if caption := captions.layers_cost_caption(costs, unit, say):
        st.caption(caption)
    with st.expander(say("Every layer, in numbers")):
        _show_table(choice, costs, say)
    return study


def _show_table(choice: Choice, costs: LayerCosts, say: Language) -> None:
    rows = captions.layers_cost_rows(costs, say)
    show_layers(rows, costs.layers, lambda _: choice.rule, "impact_table", say)
    export_rows("impact", choice, choice.rule, layer_cost_rows(costs), say)


def _show_alphas(
    choice: Choice, held_out: costing.HeldOutText, asked: Measurements, say: Language
) -> Study:
    """Cost against α, for all layers or for the one that is chosen."""
    st.divider()
    st.markdown("### " + say("Cost over α"))
    layers = choice.outline.layers
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        where = speaking.named(
            "where", tuple(WHERE), "all", say("Quantized"),
            lambda option: say(WHERE[option], layer=choice.layer), label_visibility="collapsed",
        )  # fmt: skip
        chosen = layers if where == "all" else (choice.layer,)
        symmetric = choice.rule.symmetric
        landscape = alpha_landscape(
            studies.landscapes(choice.source, chosen, symmetric),
            studies.landscapes(choice.source, chosen, symmetric, "predicted_nats"),
        )
        study = study_of("alphas", held_out, asked, tuple(landscape.settings().values()))
        measuring.button(study, say)
    costs = landscape.with_measured(asked)
    alpha = choice.rule.alpha if choice.rule.observer in ALPHA_RULES else None
    show_figure(figures.impact_alpha(costs, say, alpha=alpha), "impact_alpha", choice, say)
    st.caption(captions.alpha_cost_caption(costs, say))
    return study


def _show_proxies(
    choice: Choice, held_out: costing.HeldOutText, asked: Measurements, say: Language
) -> Study:
    """How far prediction and SQNR can be trusted on this model."""
    st.divider()
    st.markdown("### " + say("How far to trust a prediction, and SQNR"))
    st.markdown(
        say("Each layer by itself under seven rules: what was predicted against what was measured.")
    )
    layers = choice.outline.layers
    study = study_of("proxies", held_out, asked, proxy_settings(layers))
    known = proxies(asked, {layer: choice.calibration.layer(layer) for layer in layers})
    measuring.button(study, say)
    if known.points:
        show_figure(figures.impact_proxies(known, say), "impact_proxies", choice, say)
        st.caption(captions.proxies_caption(known, say))
    return study


def _show_text(
    choice: Choice, held_out: costing.HeldOutText, asked: Measurements, say: Language
) -> None:
    """The text itself, or a visitor's own, coloured by its damage."""
    st.divider()
    st.markdown("### " + say("The text itself"))
    windows = asked.run.text
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kept("window", whole(1, windows.batches))
        if STATE.get("window", 1) > windows.batches:
            STATE.window = windows.batches
        number = st.number_input(say("Window"), 1, windows.batches, 1, key="window", width=120)
        keep("window", number, 1)
        words = st.text_input(
            say("Or a sentence of your own"),
            key="sentence",
            max_chars=costing.LONGEST_SENTENCE,
            placeholder=say("at least two tokens"),
        )
    ids = costing.sentence(choice.source, words).tokens[0] if words else windows.tokens[number - 1]
    pieces = costing.damage(held_out, asked.mode, ids, choice.rule, choice.outline.layers)
    st.markdown(captions.damage_caption(pieces, say))
    show_damage(damaged_text(pieces, say), "impact_text")
    st.caption(
        say(
            "Colour: KL between the float model's next token and the quantized model's, where this "
            "character was to come. Underlined: another token is the most likely one."
        )
    )


def _show_budget(
    choice: Choice,
    held_out: costing.HeldOutText,
    outputs: Measurements,
    frame: Frame,
    say: Language,
) -> Study:
    """At most so many nats: which scales for which layer; planned at once, then measured.

    Args:
        outputs: of mode "output", whatever the page is about: that is what a plan is for.
    """
    st.divider()
    st.markdown("### " + say("A budget in, settings out"))
    room = calibrating.gradients_fit(choice.source)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kept("budget", _budget)
        budget = st.number_input(
            say("At most, in nats"), LEAST_BUDGET, MOST_BUDGET, BUDGET, BUDGET / 10,
            key="budget", format="%.6f", width=150,
        )  # fmt: skip
        keep("budget", budget, BUDGET)
        kept("finer", switched)
        finer = st.toggle(
            say("groups and channels, too"),
            key="finer",
            disabled=not room,
            help=say(
                "Scales for groups of channels and for each channel, where one for a slice is not "
                "enough."
            )
            if room
            else say("Single channels of so many tokens do not fit into a page's memory."),
        )
        keep("finer", finer, False)
    kinds = KINDS if finer and room else KINDS[:2]
    with st.spinner(say("Planning …"), show_time=False):
        plan = costing.budget_plan(choice.source, kinds, budget, frame.show)
    frame.progress.empty()
    study = study_of("budget", held_out, outputs, (Setting(plan, choice.outline.layers),))
    st.markdown(captions.budget_prediction(plan, _measured_plan(plan, study), say))
    measuring.button(study, say)
    st.dataframe(captions.budget_rows(plan, say), hide_index=True, width="stretch")
    _export_plan(choice, plan, say)
    return study


def _measured_plan(plan: BudgetPlan, study: Study) -> MeasuredSetting | None:
    (setting,) = study.settings
    known = study.asked.impact(setting)
    if known is None:
        return None
    return MeasuredSetting(setting.layers, None, study.mode, known, plan.predicted_nats)


def _export_plan(choice: Choice, plan: BudgetPlan, say: Language) -> None:
    """The plan's scales as JSON, and under Quamba's names where these have a place for them."""
    origin = origin_of(choice, None)
    groups = loading.checkpoint(choice.source.checkpoint).architecture.n_groups
    quamba: dict[str, Callable[[], str | bytes]] = {}
    note = ""
    try:
        entries = quamba_entries.plan_entries(plan, groups)
        quamba["bin"] = lambda: quamba_entries.as_bytes(entries)
    except Refusal as error:
        note = say.error(error)
    document = origin.columns() | {"budget": budget_document(plan)}
    export_bar("budget", origin, {"json": lambda: tables.as_json(document), **quamba}, say, note)


def _budget(text: str) -> float:
    return min(max(float(text), LEAST_BUDGET), MOST_BUDGET)

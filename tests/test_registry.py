"""The register of scale rules, and everything that is read from it."""

import pkgutil

import pytest
import torch
from opening import ROOT, opened

from dashboard import cli
from dashboard.analysis.report import baselines, distinct, report_scale, rule_label
from dashboard.calibration.histogram import Histogram
from dashboard.export import documents
from dashboard.rules import observers
from dashboard.rules.channels import even_groups, group_scales
from dashboard.rules.observers import (
    ALPHA_RULES,
    ASYMMETRIC_RULES,
    CHANNEL_RULES,
    REGISTERED,
    RULES,
    SNIPPET_RULES,
    SYMMETRIC_RULES,
    OutputScale,
    ScaleRule,
    output_scale,
    register,
)

OUTPUT = Histogram.of(torch.linspace(-0.25, 4, 1000))


@pytest.fixture
def toy():
    """A rule that is there for one test: half of the greatest magnitude."""

    @register(
        "toy",
        help="half of the greatest magnitude",
        label="toy rule, α {alpha}",
        short="toy",
        asymmetric=lambda rule, output, batches: OutputScale(output.max / 255, -128),
        uses_alpha=True,
        grouped=True,
        snippet="y.max() / 2 * {alpha!r}",
    )
    def toy_amax(rule, output, batches):
        return output.absmax / 2

    yield REGISTERED["toy"]
    del REGISTERED["toy"]


@pytest.fixture
def one_sided():
    """A rule that is there for one test and has no symmetric scale."""

    @register("one-sided", help="from 0 to the greatest value", gives="asymmetric")
    def one_sided_scale(rule, output, batches):
        return OutputScale(output.max / 255, -128)

    yield REGISTERED["one-sided"]
    del REGISTERED["one-sided"]


class Slice:
    """What a rule may know of a slice."""

    silu_input = silu_output = OUTPUT
    batches = (OUTPUT,)
    scale_wx = 0.001
    gradients = None


def test_the_rules_that_always_were_stand_first_in_their_old_order():
    assert RULES[:7] == (
        "percentile",
        "percentile-ema",
        "minmax",
        "mse",
        "entropy",
        "conv-absmax",
        "scale-wx",
    )
    assert set(RULES[:7]) & set(ALPHA_RULES) == {"percentile", "percentile-ema"}
    assert tuple(ASYMMETRIC_RULES)[:4] == ("percentile", "percentile-ema", "minmax", "mse")
    assert tuple(CHANNEL_RULES)[:3] == ("percentile", "minmax", "mse")
    assert set(RULES[:7]) <= set(SYMMETRIC_RULES)
    assert set(RULES[:7]) - set(SNIPPET_RULES) == {"mse", "entropy"}


def test_each_file_registers_one_rule_and_has_its_name():
    files = {module.name for module in pkgutil.iter_modules(observers.__path__)}
    assert {name.replace("-", "_") for name in RULES} == files


def test_every_rule_says_what_it_does_in_one_line():
    for rule in REGISTERED.values():
        assert rule.help and "\n" not in rule.help and not rule.help.endswith(".")
        assert "|" not in rule.help  # a table's cell ends there
        assert rule.symmetric or rule.asymmetric


def test_a_name_is_taken_once_and_groups_need_an_amax():
    with pytest.raises(ValueError, match="'minmax' is registered already"):
        register("minmax", help="again")
    with pytest.raises(ValueError, match="no-amax gives no amax; groups"):
        register("no-amax", help="a scale", gives="scale", grouped=True)
    assert "no-amax" not in RULES


def test_a_registered_rule_is_a_rule_everywhere_and_then_is_gone(toy):
    rule = ScaleRule("toy", 0.99)
    assert RULES[-1] == "toy"
    for names in (ALPHA_RULES, SYMMETRIC_RULES, ASYMMETRIC_RULES, CHANNEL_RULES, SNIPPET_RULES):
        assert "toy" in names
    assert output_scale(rule, Slice).scale == pytest.approx(4 / 2 / 127)
    asymmetric = ScaleRule("toy", 0.99, symmetric=False)
    assert output_scale(asymmetric, Slice) == OutputScale(4 / 255, -128)
    assert rule_label(rule) == "toy rule, α 0.99"
    assert rule_label(asymmetric) == "toy rule, α 0.99, asymmetric"
    assert ScaleRule("toy", 0.3) in baselines(ScaleRule("minmax", 0.3))
    groups = group_scales([OUTPUT, OUTPUT], even_groups(2, 1), rule)
    assert groups.scales == pytest.approx([4 / 2 / 127] * 2)
    rows = [report_scale(Slice, ScaleRule("toy", alpha)) for alpha in (0.9, 0.99)]
    assert distinct(rows) == tuple(rows)

    class Part:
        name, start, stop = "x", 0, 4

    code = documents.snippet("mamba-tiny", "a text", 1, 8, 0, Part, rule)
    assert code.endswith("print(float(y.max() / 2 * 0.99 / 127))")


def test_a_rule_without_a_label_goes_by_its_name(one_sided):
    assert one_sided.label == one_sided.short == "one-sided"
    assert rule_label(ScaleRule("one-sided", symmetric=False)) == "one-sided, asymmetric"


def test_the_command_line_offers_every_registered_rule(toy, capsys):
    for command in ("analyze", "export"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert ",".join(RULES) in "".join(capsys.readouterr().out.split())  # help is wrapped
    asked = ["analyze", "mamba-tiny", "--batches", "1", "--seq-len", "64", "--observer", "toy"]
    assert cli.main(asked) == 0
    assert "toy α 0.9995" in capsys.readouterr().out


def test_a_rule_without_a_symmetric_scale_is_refused_one(one_sided, capsys):
    with pytest.raises(ValueError, match="one-sided is defined for asymmetric INT8 alone"):
        ScaleRule("one-sided")
    assert ScaleRule("one-sided", symmetric=False) not in baselines(ScaleRule())
    asked = ["analyze", "mamba-tiny", "--batches", "1", "--seq-len", "64"]
    assert cli.main([*asked, "--observer", "one-sided"]) == 2
    assert "asymmetric INT8 alone" in capsys.readouterr().err
    assert cli.main([*asked, "--observer", "one-sided", "--asymmetric"]) == 0


@pytest.mark.parametrize("page", ["explore", "layers", "held-out", "kernel"])
def test_the_pages_box_lists_the_registered_rules_and_what_they_do(page, toy):
    box = opened(page, checkpoint="mamba-tiny", batches="1", seq_len="64").selectbox(key="rule")
    assert box.options == list(RULES if page in ("explore", "layers") else SYMMETRIC_RULES)
    for name in box.options:
        assert f"{name}: {REGISTERED[name].help}" in box.help


def test_compare_lists_the_registered_rules(toy):
    settings = {"checkpoint": "mamba-tiny", "batches": "1", "seq_len": "64"}
    app = opened("compare", **settings)
    assert toy.help in app.selectbox(key="rule").help
    for key in ("rule", "rule_b"):
        assert app.selectbox(key=key).options == list(SYMMETRIC_RULES)


def test_groups_and_the_sweep_list_the_rules_that_are_defined_for_groups(toy):
    settings = {"checkpoint": "mamba2-tiny", "batches": "1", "seq_len": "64"}
    app = opened("groups", **settings)
    assert app.selectbox(key="rule").options == list(CHANNEL_RULES)
    (kinds,) = (
        table.value for table in opened("sweep", **settings).dataframe if "scale" in table.value
    )
    assert set(kinds.columns) == {"scale", *ASYMMETRIC_RULES, *CHANNEL_RULES}


@pytest.mark.parametrize("page", ["explore", "layers"])
def test_a_rule_without_a_symmetric_scale_switches_the_toggle_on_for_good(page, one_sided):
    settings = {"checkpoint": "mamba-tiny", "batches": "1", "seq_len": "64"}
    app = opened(page, rule="one-sided", **settings)
    (toggle,) = app.toggle
    assert toggle.value and toggle.disabled
    app.selectbox(key="rule").set_value("percentile").run()
    assert not app.exception
    assert not app.toggle(key="asymmetric").value and not app.toggle(key="asymmetric").disabled
    app.selectbox(key="rule").set_value("one-sided").run()
    assert not app.exception and app.toggle[0].disabled


@pytest.mark.parametrize("page", ["held-out", "kernel"])
def test_where_scales_are_symmetric_such_a_rule_gives_way_to_the_default(page, one_sided):
    app = opened(page, checkpoint="mamba-tiny", batches="1", seq_len="64", rule="one-sided")
    assert app.selectbox(key="rule").value == "percentile"


def test_the_readme_lists_the_registered_rules():
    wanted = [
        "| rule | amax, or range | asymmetric | groups of channels |",
        "|---|---|---|---|",
        *(
            f"| `{rule.name}` | {rule.help} | {_asymmetric(rule)} | {'yes' * rule.grouped or '–'} |"
            for rule in REGISTERED.values()
        ),
    ]
    assert "\n".join([*wanted, ""]) in (ROOT / "README.md").read_text(encoding="utf-8")


def _asymmetric(rule):
    return ("yes" if rule.symmetric else "only") if rule.asymmetric else "–"

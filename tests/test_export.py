"""What leaves the project: a report that stands alone, code, rows."""

import contextlib
import html.parser
import io
import re

import pytest

from dashboard import figures
from dashboard.analysis.report import LayerReport, evaluate_held_out, report_scale, report_slices
from dashboard.calibration import Calibration
from dashboard.checkpoints import load_checkpoint
from dashboard.export import documents, tables
from dashboard.figures.theme import PALETTES
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import SNIPPET_RULES, SYMMETRIC_RULES, ScaleRule, moving_average
from dashboard.text.language import ENGLISH, language

BATCHES, SEQ_LEN = 3, 64


@pytest.fixture(scope="module")
def mamba(calibrated) -> Calibration:
    return calibrated("mamba-tiny", BATCHES, SEQ_LEN).calibration


@pytest.fixture(scope="module")
def mamba2(calibrated) -> Calibration:
    return calibrated("mamba2-tiny", BATCHES, SEQ_LEN).calibration


def reports(calibration: Calibration, rule: ScaleRule) -> list[LayerReport]:
    return [LayerReport(e.layer, report_slices(e, rule), None) for e in calibration.layers]


class Outline(html.parser.HTMLParser):
    """Which elements a page has, whether each is closed, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_stands_alone_and_keeps_markup_out(mamba):
    made = reports(mamba, ScaleRule("percentile"))
    document = documents.document(mamba.origin, ScaleRule("percentile"), made)
    scales = [[conv_slice.chosen for conv_slice in layer.slices] for layer in made]
    heat = figures.rule_heatmap([0, 1, 2, 3], scales, [row[0] for row in scales], ENGLISH)
    rows = list(tables.slice_rows(document))
    rows[0] |= {"slice": "<script>x</script>"}
    sections = [
        documents.Section("<script>alert(1)</script>", ["**bold** & <i>plain</i>"], heat, rows)
    ]
    page = documents.report_html("<b>name</b>", "<i>origin</i>", sections, language("zh-CN"))
    assert '<html lang="zh-CN">' in page and "<title>&lt;b&gt;name&lt;/b&gt;</title>" in page
    outline = Outline()
    outline.feed(page)
    assert outline.open == []  # every element is closed, in order
    assert outline.loads == [] and "url(http" not in page
    # plotly.js, what draws with it, and the figure's own numbers; no other script runs.
    assert outline.seen.count("script") == 3 and "i" not in outline.seen
    assert (
        page.count("alert(1)") == page.count("<h2>&lt;script&gt;alert(1)&lt;/script&gt;</h2>") == 1
    )
    assert "<td>&lt;script&gt;x&lt;/script&gt;</td>" in page
    assert "<strong>bold</strong> &amp; &lt;i&gt;plain&lt;/i&gt;" in page
    assert page.count('<div class="plotly-figure"') == 1
    for row in rows:
        assert f"<td>{row['x_out_scale']:.6g}</td>" in page


def test_a_wide_table_is_parted_and_no_column_is_lost(mamba2):
    made = reports(mamba2, ScaleRule("percentile"))
    rows = list(tables.slice_rows(documents.document(mamba2.origin, ScaleRule("percentile"), made)))
    rows[0] |= {"best_alpha": 0.999956}
    page = documents.report_html("t", "o", [documents.Section("h", rows=rows)], ENGLISH)
    columns = [
        [cell_texts(row) for row in table.split("<tr>")[1:]] for table in page.split("<table>")[1:]
    ]
    assert len(columns) > 2
    names = [name for table in columns for name in table[0] if name not in ("slice", "layer")]
    assert names == [name for name in rows[0] if name not in ("slice", "layer")]
    for table in columns:
        assert [line[:2] for line in table[1:]] == [[r["slice"], str(r["layer"])] for r in rows]
        assert all(sum(map(len, line)) + 2 * len(line) <= 110 for line in table)
    cells = {name: table[1][i] for table in columns for i, name in enumerate(table[0])}
    assert cells["best_alpha"] == "0.999956" and cells["kernel_sqnr_db"] == "–"
    assert float(cells["sqnr_db"]) == pytest.approx(rows[0]["sqnr_db"], rel=1e-5)


def cell_texts(row: str) -> list[str]:
    return re.findall(r"<t[hd]>(.*?)</t[hd]>", row)


def test_the_report_prints_light_within_the_page_and_asks_for_nothing(browser, mamba):
    made = reports(mamba, ScaleRule("percentile"))
    scales = [[conv_slice.chosen for conv_slice in layer.slices] for layer in made]
    heat = figures.rule_heatmap([0, 1, 2, 3], scales, [row[0] for row in scales], ENGLISH)
    html = documents.report_html("t", "o", [documents.Section("h", figure=heat)], ENGLISH)
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="dark", offline=True
    )
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(html)
    drawn = page.locator(".plotly-figure .main-svg").first
    names = page.locator(".plotly-figure .ytick text").first
    drawn.wait_for()
    dark, light = (PALETTES[theme]["muted"] for theme in ("dark", "light"))
    assert colour_of(names) == dark and drawn.bounding_box()["width"] > 900
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert colour_of(names) == light and drawn.bounding_box()["width"] == 700
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert colour_of(names) == dark
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert not errors and not [url for url in asked if not url.startswith(("data:", "blob:"))]
    context.close()


def colour_of(text) -> str:
    red, green, blue = re.findall(r"\d+", text.evaluate("node => getComputedStyle(node).fill"))[:3]
    return f"#{int(red):02X}{int(green):02X}{int(blue):02X}"


@pytest.mark.parametrize("observer", SNIPPET_RULES)
def test_the_snippet_prints_the_scale_that_is_shown(mamba2, observer):
    checkpoint = load_checkpoint("mamba2-tiny")
    rule = ScaleRule(observer, 0.999)
    for index, conv_slice in enumerate(checkpoint.slices):
        code = documents.snippet(
            "mamba2-tiny", "calibration.txt", BATCHES, SEQ_LEN, 1, conv_slice, rule
        )
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            exec(code, {})
        wanted = report_scale(mamba2.layer(1).slices[index], rule).x_out_scale
        # The project divides and averages in float32 and float64, the snippet as numpy does.
        assert float(written.getvalue()) == pytest.approx(wanted, rel=3e-7)


def test_rules_that_search_have_no_snippet():
    conv_slice = load_checkpoint("mamba2-tiny").slices[0]
    asked = ("mamba2-tiny", "calibration.txt", 1, 8, 0, conv_slice)
    made = {rule: documents.snippet(*asked, ScaleRule(rule)) for rule in SYMMETRIC_RULES}
    assert made["mse"] is None and made["entropy"] is None
    assert {rule for rule, code in made.items() if code} == set(SNIPPET_RULES)
    asymmetric = ScaleRule("percentile", symmetric=False)
    assert (
        documents.snippet("mamba2-tiny", "calibration.txt", 1, 8, 0, conv_slice, asymmetric) is None
    )


def test_what_charts_are_made_of_leaves_as_rows(mamba):
    counted = mamba.layer(1).slices[0]
    landscape = Landscape.of(counted.silu_output)
    rows = tables.landscape_rows(landscape)
    assert [row["alpha"] for row in rows] == landscape.alphas.tolist()
    chosen = report_scale(counted, ScaleRule("percentile", rows[-30]["alpha"]))
    assert rows[-30]["x_out_scale"] == chosen.x_out_scale
    for name in ("sqnr_db", "saturation_rate", "effective_bits", "clipping_mse"):
        assert rows[-30][name] == pytest.approx(float(getattr(chosen.output, name)))

    average = moving_average(counted.batches, ScaleRule("percentile-ema", 0.99, 0.5, order=3))
    rows = tables.average_rows(average)
    assert sorted(row["batch"] for row in rows) == [0, 1, 2]
    means = [rows[0]["quantile"]]
    for row in rows[1:]:
        means.append(means[-1] + 0.5 * (row["quantile"] - means[-1]))
    assert [row["mean"] for row in rows] == pytest.approx(means)

    (row,) = tables.held_out_rows(
        [evaluate_held_out(1, counted, counted, ScaleRule("minmax"))], ("a", "b")
    )
    assert row["sqnr_db, a"] == row["sqnr_db, b"] and row["saturation_rate, a"] == 0

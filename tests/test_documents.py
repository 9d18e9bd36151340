"""The documents beside the sources: names, bounds, links and imports are as they say."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import findings
from dashboard import formats
from dashboard.analysis import health
from dashboard.analysis.report import LayerReport, report_slices
from dashboard.calibration import LayerCalibration, SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.rules import observers
from dashboard.rules.observers import ScaleRule

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(document: str, heading: str) -> str:
    """What stands below a heading of the second rank, up to the next."""
    (body,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document, re.M | re.S)
    return body


def test_every_measure_of_a_report_is_defined():
    v = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    y = Histogram.of(F.silu(v))
    slices = (SliceCalibration("x", 3.0, 0.5, 0.1, Histogram.of(v), y, (y,)),)
    report = LayerReport(0, report_slices(LayerCalibration(0, slices), ScaleRule()), None)
    defined = section(text_of("docs/definitions.md"), "Measures")
    assert [name for name in report.measures("x") if f"`{name}`" not in defined] == []


def test_every_scale_rule_is_defined():
    defined = section(text_of("docs/definitions.md"), "Scale rules")
    assert [rule for rule in observers.RULES if f"| `{rule}` |" not in defined] == []


def test_every_number_format_is_defined():
    defined = section(text_of("docs/definitions.md"), "Number formats")
    assert [name for name in formats.names() if f"`{name}`" not in defined] == []


@pytest.mark.parametrize(
    ("constant", "words"),
    [
        ("NEIGHBOURS_RATIO", "{:g} times"),
        ("FEWEST_NEIGHBOURS", "fewer than {:g} layers"),
        ("MOST_LOST_DB", "more than {:g} dB"),
        ("INPUT_RATIO", "{:g} times"),
    ],
)
def test_the_bounds_of_the_health_check_are_stated(constant, words):
    stated = section(text_of("docs/definitions.md"), "Health of a quantized checkpoint")
    assert words.format(getattr(health, constant)) in stated


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


NEW = ("architecture.md", "definitions.md", "how-to-add.md", "CONTRIBUTING.md", "CHANGELOG.md")


@pytest.mark.parametrize("name", NEW)
def test_every_path_that_a_document_names_is_there(name):
    """In backticks, from the root or from dashboard/; the examples' own names are in capitals."""
    (document,) = [path for path in DOCUMENTS if path.name == name]
    named = re.findall(r"`([\w./-]*/[\w./-]*)`", document.read_text(encoding="utf-8"))
    written = [path for path in named if not re.search("[A-Z]{2}", path)]
    roots = (ROOT, ROOT / "dashboard")
    assert [path for path in written if not any((root / path).exists() for root in roots)] == []


def rooms() -> list[str]:
    """In the order of the page's table; app.py stands with the pages."""
    table = section(text_of("docs/architecture.md"), "The rooms")
    return re.findall(r"^\| `(\w+)/`", table, re.M)


def imports(path: Path) -> set[str]:
    """Each room that a module imports from, at its top or within."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        modules |= {name.split(".")[1] for name in names if name.startswith("dashboard.")}
    return modules


def test_the_rooms_on_the_page_are_the_rooms():
    folders = {path.parent.name for path in (ROOT / "dashboard").glob("*/__init__.py")}
    assert set(rooms()) == folders


def test_imports_go_up_the_table():
    order = rooms()
    down = {
        path.relative_to(ROOT / "dashboard").as_posix()
        for i, room in enumerate(order)
        for path in (ROOT / "dashboard" / room).rglob("*.py")
        if imports(path) & ({*order[i + 1 :], "cli"} - {room})
    }
    assert down == set()


def test_the_kernels_import_no_room():
    assert not any(imports(path) for path in (ROOT / "kernels").rglob("*.py"))


def test_every_record_on_the_page_is_of_its_room():
    records = section(text_of("docs/architecture.md"), "The records")
    rows = re.findall(r"^\| (`.+`) \| `(\w+)/` \|", records, re.M)
    missing = []
    for names, room in rows:
        sources = "".join(text_of(str(p)) for p in (ROOT / "dashboard" / room).rglob("*.py"))
        missing += [n for n in re.findall(r"`(\w+)`", names) if f"\nclass {n}" not in sources]
    assert rows and missing == []


def test_the_findings_tables_are_those_of_what_was_recorded():
    recorded = json.loads(findings.RECORDED.read_text(encoding="utf-8"))
    document = findings.DOCUMENT.read_text(encoding="utf-8")
    assert set(recorded) == set(findings.SAMPLES)
    for name, table in findings.tables(recorded).items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- end -->" in document

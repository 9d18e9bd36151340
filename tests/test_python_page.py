"""docs/python.md says what is so: its blocks run in order, and each value is the one beside it."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def shown_beside(block: str, statement: ast.stmt) -> str | None:
    """The comment at the end of an expression's line: what the page says that it gives."""
    line = block.splitlines()[statement.end_lineno - 1]
    comment = line[statement.end_col_offset :].partition("  # ")[2]
    return comment if comment and isinstance(statement, ast.Expr) else None


def assert_shown(value: object, shown: str) -> None:
    """Equal as far as the page prints it: to its digits, or up to an ellipsis."""
    if isinstance(value, tuple):
        for entry, text in zip(value, shown.strip("()").split(", "), strict=True):
            assert_shown(entry, text)
    elif isinstance(value, float):
        digits = len(shown.partition(".")[2])
        assert abs(value - float(shown)) < 10.0**-digits, (value, shown)
    else:
        start, _, end = shown.partition("…")
        assert repr(value).startswith(start.rstrip(">, ")) and repr(value).endswith(end), value


def test_the_first_number_takes_three_lines():
    assert len([line for line in BLOCKS[0].splitlines() if line]) == 3  # ruff parts the import
    assert isinstance(ast.parse(BLOCKS[0]).body[-1], ast.Expr)


def test_every_block_runs_and_gives_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = 0
    for block in BLOCKS:
        for statement in ast.parse(block).body:
            if not isinstance(statement, ast.Expr):
                exec(ast.unparse(statement), names)
                continue
            value = eval(ast.unparse(statement), names)
            if value is not None:
                assert isinstance(value, float | tuple) or value._repr_html_().startswith("<")
            if comment := shown_beside(block, statement):
                assert_shown(value, comment)
                shown += 1
    assert shown == 14


def test_the_page_fits_a_screen():
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 84

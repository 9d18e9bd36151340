"""Every catalogue is complete, agrees with the sources, and fills in the same numbers and terms."""

import ast
import re
from string import Formatter

import pytest

from dashboard.refusals import Refusal
from dashboard.text.glossary import glossary
from dashboard.text.language import (
    CATALOGUES,
    ENGLISH,
    KEYWORDS,
    PACKAGE,
    Language,
    catalogue,
    language,
    preferred,
    said,
)
from dashboard.text.prose import TERM

CODES = list(CATALOGUES)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.fixture(scope="module")
def sources() -> dict[str, list[str]]:
    return said()


@pytest.mark.parametrize("code", CODES)
def test_every_message_of_the_sources_is_in_the_catalogue_and_no_other(code, sources):
    found = {entry.id for entry in catalogue(code) if entry.id}
    assert len(sources) > 250  # extraction found something
    assert found == set(sources)


def test_every_call_is_extracted_wherever_it_stands(sources):
    """Babel does not see into f-strings; Python's own parser does."""
    for path in [PACKAGE.parent / "app.py", *PACKAGE.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if name in KEYWORDS and isinstance(first, ast.Constant):
                    assert first.value in sources, f"{path.name}: {first.value}"


@pytest.mark.parametrize("code", CODES)
def test_none_is_fuzzy_or_empty(code):
    for entry in catalogue(code):
        if entry.id:
            assert entry.string.strip(), entry.id
            assert not entry.fuzzy, entry.id


@pytest.mark.parametrize("code", CODES)
def test_placeholders_marks_and_terms_agree(code):
    terms = set(glossary(language(code)))
    for entry in catalogue(code):
        if not entry.id:
            continue
        assert placeholders(entry.string) == placeholders(entry.id), entry.id
        keys = [match[1] for match in TERM.finditer(entry.id)]
        assert sorted(match[1] for match in TERM.finditer(entry.string)) == sorted(keys), entry.id
        assert set(keys) <= terms, entry.id
        for mark in ("**", "`"):
            assert entry.string.count(mark) == entry.id.count(mark), entry.id


def test_english_is_what_the_sources_say():
    assert language("en") == ENGLISH
    assert ENGLISH("{n} codes", n=7) == "7 codes"


def test_a_refusal_is_said_in_the_readers_language_with_its_reason():
    chinese = Language("zh-CN", "简体中文", {"{file}: {reason}": "{file}：{reason}", "empty": "空"})
    error = Refusal("{file}: {reason}", file="{a}.json", reason=Refusal("empty"))
    assert str(error) == "{a}.json: empty"
    assert chinese.error(error) == "{a}.json：空"
    assert chinese.error(ValueError("{plain}")) == "{plain}"


def test_chinese_is_chinese_throughout():
    plain = {entry.id for entry in catalogue("zh-CN")
             if entry.id and not re.search(r"[\u4e00-\u9fff]", entry.string)}  # fmt: skip
    # Symbols and names alone; every sentence has a Chinese character.
    assert plain == {"3  SiLU", "INT8", "SQNR", "SQNR (sqnr_db)", "amax", "at {alpha}"}


def test_numbers_are_filled_in_and_an_unknown_message_stays_english():
    say = Language("zh-CN", "简体中文", {"{n} codes": "{n} 个编码"})
    assert say("{n} codes", n=7) == "7 个编码"
    assert say("{n} bits", n=7) == "7 bits"


def test_a_language_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'fr'; allowed are en, zh-CN"):
        language("fr")


@pytest.mark.parametrize(
    ("browser", "code"),
    [("zh-CN", "zh-CN"), ("zh", "zh-CN"), ("zh_Hans_SG", "zh-CN"), ("zh_CN", "zh-CN"),
     ("ZH-tw", "zh-CN"),
     ("en-US", "en"), ("de", "en"), ("", "en"), (None, "en")],
)  # fmt: skip
def test_the_browser_chooses(browser, code):
    assert preferred(browser) == code

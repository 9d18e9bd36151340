"""Every catalogue is complete, agrees with the sources, and fills in the same numbers and terms."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.extract import check_and_call_extract_file, extract_from_dir
from babel.messages.frontend import parse_keywords

from dashboard.analysis.report import rule_label
from dashboard.checkpoints import CheckpointError, load_checkpoint
from dashboard.messages import Message, both, either
from dashboard.refusals import Refusal
from dashboard.rules.observers import REGISTERED, RULES, ScaleRule
from dashboard.text.glossary import glossary
from dashboard.text.language import (
    CATALOGUES,
    ENGLISH,
    Language,
    catalogue,
    language,
    preferred,
)
from dashboard.text.prose import TERM

CODES = list(CATALOGUES)
ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.search(
    r'pybabel extract .*-k "([^"]+)".* app\.py dashboard$',
    (ROOT / "CONTRIBUTING.md").read_text("utf-8").replace("\\\n", " "),
    re.M,
)
KEYWORDS = parse_keywords(COMMAND[1].split())  # of the command that CONTRIBUTING.md gives


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.fixture(scope="module")
def sources() -> set[str]:
    """What the command extracts."""
    mapping = [("**.py", "python")]
    app = check_and_call_extract_file(
        "app.py", mapping, {}, None, KEYWORDS, (), False, dirpath=str(ROOT)
    )
    extracted = [*app, *extract_from_dir(ROOT / "dashboard", mapping, keywords=KEYWORDS)]
    return {message for _, _, message, _, _ in extracted}


@pytest.mark.parametrize("code", CODES)
def test_every_message_of_the_sources_is_in_the_catalogue_and_no_other(code, sources):
    known = {entry.id for entry in catalogue(code) if entry.id}
    assert len(sources) > 500  # extraction found something
    assert known == sources


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call of a function that says something, by its name."""
    named = [
        (getattr(node.func, "id", getattr(node.func, "attr", "")), node)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and node.args
    ]
    return [(name, node) for name, node in named if name in KEYWORDS]


MODULES = [ROOT / "app.py", *sorted((ROOT / "dashboard").rglob("*.py"))]


def test_every_call_is_extracted_wherever_it_stands(sources):
    """Babel does not see into f-strings; Python's own parser does."""
    for path in MODULES:
        for _, node in calls(path):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                assert first.value in sources, f"{path.name}: {first.value}"


def test_no_template_is_put_together():
    """An f-string, a sum or a formatted string is in no catalogue."""
    for path in MODULES:
        for name, node in calls(path):
            assert not isinstance(node.args[0], ast.JoinedStr | ast.BinOp), (
                f"{path.name}, line {node.lineno}: {name}"
            )


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


# Written as they are in every language: measures, entries of files, options, products, units.
NAMES = re.compile(
    r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+|[a-z0-9]+\.(?:json|py|bin|safetensors|amax)\b|--[a-z-]+"
    r"|\b(?:INT8|FP32|SQNR|SiLU|MinMax|MSE|Mamba-[12]|W\d+A\d+|W[48]A[48]|Quamba2?|PyTorch|torch"
    r"|Triton|TensorRT|Hugging Face|transformers|safetensors|JSON|CSV|UTF-8|SSD|GPU|dB|float16"
    r"|float32|conv1d|amax)\b"
)
NUMBERS = re.compile(r"(?<![\w.])\d[\d,.]*(?:\s?%)?")


def standing(pattern: re.Pattern, text: str) -> set[str]:
    """What a pattern finds outside of placeholders and of the terms' keys."""
    plain = re.sub(r"\{\w+\}", " ", TERM.sub(lambda match: match[2] or match[1], text))
    return {phrase.rstrip(".,") for phrase in pattern.findall(plain)}


@pytest.mark.parametrize("code", CODES)
def test_names_and_units_stay_as_they_are(code):
    for entry in catalogue(code):
        if entry.id:
            # English puts an s behind several, even of a name.
            english, other = (
                {name.rstrip("s") for name in standing(NAMES, text)}
                for text in (entry.id, entry.string)
            )
            missing = english - other
            assert not missing, (entry.id, missing)


@pytest.mark.parametrize("code", CODES)
def test_numbers_stay_as_they_are(code):
    for entry in catalogue(code):
        if entry.id:
            english, other = standing(NUMBERS, entry.id), standing(NUMBERS, entry.string)
            assert english <= other, (entry.id, english - other)


BOLD = re.compile(r"(.?)\*\*(.+?)\*\*(.?)", re.S)


def test_markdown_sees_what_is_bold_in_chinese():
    """Stars between a letter and punctuation are no marks to Markdown, and a value may be either.

    So what is bold stands between spaces or punctuation wherever it begins or ends in a value or
    in punctuation itself.
    """
    for entry in catalogue("zh-CN"):
        for before, bold, after in BOLD.findall(entry.string if entry.id else ""):
            apart = "\n （），。、：；“”·(),.:;"
            if not re.match(r"\w", bold[0]):
                assert not before or before in apart, entry.string
            if not re.match(r"\w", bold[-1]):
                assert not after or after in apart, entry.string


def test_a_path_stands_apart_in_chinese():
    """What hides the server's directories looks for them between words."""
    for entry in catalogue("zh-CN"):
        for before in re.findall(r"(.)\{(?:path|source)\}", entry.string if entry.id else ""):
            assert before in " （：；，“(", entry.string


def test_chinese_is_chinese_throughout():
    plain = {
        entry.id
        for entry in catalogue("zh-CN")
        if entry.id and not re.search(r"[\u4e00-\u9fff]", entry.string)
    }
    symbols = {entry for entry in plain if not re.search("[a-z]{2}", re.sub(r"\{\w+\}", "", entry))}
    # Names alone beside what has no word at all; every sentence has a Chinese character.
    assert plain - symbols == NO_WORDS


NO_WORDS = {"ACIQ, Laplace", "SQNR (sqnr_db)", "amax", "at {alpha}"}


def test_english_is_what_the_sources_say():
    assert language("en") == ENGLISH
    assert ENGLISH("{n} codes", n=7) == "7 codes"


CHINESE = Language(
    "zh-CN",
    "简体中文",
    {
        "{file}: {reason}": "{file}：{reason}",
        "empty": "空",
        "{n} codes": "{n} 个码值",
        "allowed are {names}": "可用的有 {names}",
        "{items} and {last}": "{items}和{last}",
        "; ": "；",
        ", ": "、",
    },
)


def test_a_refusal_is_said_in_the_readers_language_with_its_reason():
    error = Refusal("{file}: {reason}", file="{a}.json", reason=Refusal("empty"))
    assert str(error) == "{a}.json: empty"
    assert CHINESE.error(error) == "{a}.json：空"
    assert CHINESE.error(ValueError("{plain}")) == "{plain}"


def test_a_refusal_keeps_to_one_line_of_printable_characters_in_every_language():
    error = Refusal("{file}: {reason}", file="a\nb\x00", reason="c\r\nd")
    assert str(error) == "a b�: c d"
    assert CHINESE.error(error) == CHINESE(error.message) == "a b�：c d"


def test_a_message_is_its_english_sentence_and_is_filled_again_in_another_language():
    message = Message("{n} codes", n=7)
    assert message == "7 codes" and {message: 1}["7 codes"] == 1
    assert CHINESE(message) == "7 个码值" and ENGLISH(message) == "7 codes"
    assert CHINESE(Message("{file}: {reason}", file="a", reason=message)) == "a：7 个码值"
    assert CHINESE(Message("{n} codes"), n=8) == "8 个码值"  # a template that waits for its values
    error = Refusal(message)
    assert str(error) == "7 codes" and CHINESE.error(error) == "7 个码值"


def test_lists_and_sentences_are_joined_as_the_language_joins_them():
    allowed = Message("allowed are {names}", names=("x", "B"))
    assert allowed == "allowed are x, B" and CHINESE(allowed) == "可用的有 x、B"
    assert Message("has shape {shape}", shape=(4, 4)) == "has shape (4, 4)"
    assert ENGLISH.both(["x", "B", "C"]) == "x, B and C" and ENGLISH.both(["x"]) == "x"
    assert CHINESE.both(["x", "B", "C"]) == "x、B和C"
    assert both(["B", "C"]) == "B and C" and either([".safetensors", ".bin"]).endswith("s or .bin")
    assert ENGLISH.clauses(["a", "b"]) == "a; b" and CHINESE.clauses(["a", "b"]) == "a；b"
    assert ENGLISH.sentences("One.", "", "Two.") == "One. Two."
    assert CHINESE.sentences("一。", "二。") == "一。二。"


@pytest.mark.parametrize(
    ("template", "value", "sentence"),
    [("共 {v} 个", "3", "共 3 个"),
     ("最细的是 {v} 吗", "头组 2", "最细的是头组 2 吗"),
     ("在 {v} 上", "文本", "在文本上"),
     ("{v} 和 0.9", "1（对称）", "1（对称）和 0.9"),
     ("见 {v}", "“各层”", "见“各层”"),
     ("打开 {v} 时", "我的 模型", "打开我的 模型时"),
     ("打开 {v} 时", "/我的 模型", "打开 /我的 模型时"),
     ("**一。** {v}", "二", "**一。** 二")],
)  # fmt: skip
def test_a_gap_in_chinese_has_spaces_for_latin_words_alone(template, value, sentence):
    """A space goes where what fills the gap is Chinese there; those of the value itself stay."""
    assert Language("zh-CN", "", {"x {v}": template})("x {v}", v=value) == sentence
    assert Language("en", "", {"x {v}": template})("x {v}", v=value) == template.format(v=value)


def test_an_error_of_the_rooms_is_said_in_chinese():
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint("no such checkpoint")
    assert str(raised.value).startswith("no such checkpoint is neither a directory, nor a Hub id")
    sentence = language("zh-CN").error(raised.value)
    assert sentence.startswith("no such checkpoint 不是目录") and "mamba-tiny、" in sentence


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_does_is_said_in_chinese(name):
    rule, chinese = REGISTERED[name], language("zh-CN")
    assert re.search("[\u4e00-\u9fff]", chinese(rule.help))
    for symmetric in (True, False):
        if rule.symmetric if symmetric else rule.asymmetric:
            label = rule_label(ScaleRule(name, 0.99, 0.5, symmetric=symmetric))
            words = chinese(label)
            assert "{" not in words and ("，非对称" in words) == (not symmetric)
            assert ("0.99" in words) == rule.uses_alpha and ("0.5" in words) == rule.averages


def test_numbers_are_filled_in_and_an_unknown_message_stays_english():
    assert CHINESE("{n} codes", n=7) == "7 个码值"
    assert CHINESE("{n} bits", n=7) == "7 bits"


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

"""What a scale rule is called, and what it does, in the reader's language.

A rule's own name (``percentile-ema``) is the same everywhere, in boxes, links, files and at the
command line. Its label says what of its settings matters, for rows of tables and lines of figures.
"""

from __future__ import annotations

from collections.abc import Iterable

from dashboard.analysis.report import format_alpha
from dashboard.rules.observers import REGISTERED, ScaleRule
from dashboard.text.language import Language


def rule_label(rule: ScaleRule, say: Language) -> str:
    """A rule and what of its settings matters: "α 0.9995", "MinMax, SiLU output, asymmetric"."""
    return _with_symmetry(rule, rule.registered.label, say)


def short_label(rule: ScaleRule, say: Language) -> str:
    """The label where room is scarce: "MinMax"."""
    return _with_symmetry(rule, rule.registered.short, say)


def _with_symmetry(rule: ScaleRule, label: str, say: Language) -> str:
    words = say(label, alpha=format_alpha(rule.alpha), sigma=format_alpha(rule.sigma))
    return words if rule.symmetric else say("{rule}, asymmetric", rule=words)


def rules_help(names: Iterable[str], say: Language) -> str:
    """What each rule does, as Markdown, a line a rule."""
    return "\n".join(f"- {name}: {say(REGISTERED[name].help)}" for name in names)

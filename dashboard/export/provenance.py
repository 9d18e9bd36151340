"""Where exported numbers come from: in every file, and in its name.

A file that has left the page is found again weeks later, beside others. So each says which
checkpoint was calibrated, on how many batches of which text, by which rule and α, and when.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.analysis.report import format_alpha, rule_label
from dashboard.rules.observers import ScaleRule
from dashboard.text.language import Language

LONGEST = 40  # characters of a checkpoint's or a text's name in a file's name


@dataclass(frozen=True)
class Provenance:
    """What a file's numbers were made from."""

    checkpoint: str
    text: str  # empty where nothing was calibrated, as of stored scales
    batches: int
    seq_len: int
    rule: ScaleRule | None  # None where no rule was applied
    date: str  # of the export, as ISO 8601 has it

    def columns(self) -> dict[str, object]:
        """One cell each, to stand before the columns of a table."""
        rule = self.rule
        return {
            "checkpoint": self.checkpoint,
            "text": self.text or None,
            "batches": self.batches or None,
            "seq_len": self.seq_len or None,
            "observer": rule and rule.observer,
            "alpha": rule.alpha if rule and rule.registered.uses_alpha else None,
            "sigma": rule.sigma if rule and rule.registered.averages else None,
            "symmetric": rule.symmetric if rule else None,
            "date": self.date,
        }

    def file_name(self, subject: str) -> str:
        """A name that says what is in the file, without its suffix.

        "layers_mamba2-small_percentile-0.9995_calibration-16x512_2026-11-30"
        """
        words = [subject, _short(self.checkpoint)]
        if self.rule:
            rule = [self.rule.observer]
            rule += [format_alpha(self.rule.alpha)] * self.rule.registered.uses_alpha
            rule += ["asymmetric"] * (not self.rule.symmetric)
            words.append("-".join(rule))
        if self.text:
            words.append(f"{_short(self.text.removesuffix('.txt'))}-{self.batches}x{self.seq_len}")
        return "_".join([*words, self.date])

    def sentence(self, say: Language) -> str:
        """The same for a reader."""
        if not self.text or not self.rule:
            name = self.checkpoint
            return say("{checkpoint}; exported on {date}.", checkpoint=name, date=self.date)
        return say(
            "{checkpoint}, calibrated on {batches} × {tokens} tokens of {text}; rule {rule}; "
            "exported on {date}.",
            checkpoint=self.checkpoint,
            batches=self.batches,
            tokens=self.seq_len,
            text=self.text,
            rule=say(rule_label(self.rule)),
            date=self.date,
        )


def _short(name: str) -> str:
    """The last part of a path or a Hub id, in characters that every file system takes."""
    last = name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"[^\w.-]+", "-", last)[:LONGEST]


def labelled(rows: Sequence[dict], origin: Provenance) -> list[dict]:
    """Flat rows with their provenance before them."""
    return [origin.columns() | row for row in rows]

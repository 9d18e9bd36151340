"""``compare``: columns of scales side by side."""

from __future__ import annotations

import argparse

from dashboard.calibration import Calibration, read_text
from dashboard.checkpoints import load_checkpoint
from dashboard.cli import columns
from dashboard.cli.counts import counted_now, kept_or_counted
from dashboard.cli.options import tokenizer_of
from dashboard.cli.output import check_place, write_result


def run_compare(arguments: argparse.Namespace) -> int:
    """Columns side by side; what several have in common is counted once."""
    check_place(arguments.out)
    counted: dict[tuple[str, str], Calibration] = {}

    def count(name: str, text_name: str) -> Calibration:
        if (name, text_name) not in counted:
            checkpoint = load_checkpoint(name)
            text = read_text(
                checkpoint, text_name, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
            )
            counted[name, text_name] = kept_or_counted(
                arguments, checkpoint, text, False, lambda: counted_now(checkpoint, text, False)
            )
        return counted[name, text_name]

    write_result(columns.compare(arguments, count), arguments.out)
    return 0

"""The samples' own calibrations, so that a server that was just started has something to show.

    python -m sample_checkpoints.counts

``mamba-tiny``, which the pages open with, carries the counts of all 16 batches of 512 tokens of
``calibration.txt``, the others those of the first batch: all of all of them would take 6.3 MB, and
the samples may take 20 MB with their weights. Counted on a CPU, in float32.
"""

from __future__ import annotations

from dataclasses import replace

from dashboard.calibration import DEFAULT_BATCHES, DEFAULT_SEQ_LEN, calibrate, read_text
from dashboard.calibration.archive import fingerprint
from dashboard.calibration.calibration_store import carried_name
from dashboard.calibration.packed import pack
from dashboard.calibration.whole_files import write_whole
from dashboard.checkpoints import load_backbone, load_checkpoint, sample_names
from dashboard.importing import hide_kernels_distribution

BATCHES = {name: 1 for name in sample_names()} | {"mamba-tiny": DEFAULT_BATCHES}


def main() -> None:
    hide_kernels_distribution()
    for name, batches in BATCHES.items():
        checkpoint = load_checkpoint(name)
        text = read_text(checkpoint, batches=batches, seq_len=DEFAULT_SEQ_LEN)
        counted = calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text)
        origin = replace(counted.origin, fingerprint=fingerprint(checkpoint))
        content = pack(replace(counted, origin=origin))
        write_whole(checkpoint.path / carried_name(batches, DEFAULT_SEQ_LEN), content)
        print(f"{name}: {batches} x {DEFAULT_SEQ_LEN}, {len(content):,} bytes")


if __name__ == "__main__":
    main()

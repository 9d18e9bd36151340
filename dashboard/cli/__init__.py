"""The same reports without a browser.

    python -m dashboard analyze CHECKPOINT       calibrate, and report every layer's scales
    python -m dashboard calibrate CHECKPOINT     calibrate, and save what was counted
    python -m dashboard compare COLUMN COLUMN    scales side by side, layer by layer
    python -m dashboard check CHECKPOINT         is each scale of a quantized checkpoint sound?
    python -m dashboard export CHECKPOINT        calibrate, and write scales as Quamba stores them
    python -m dashboard impact CHECKPOINT        what quantized layers cost the model, in nats

``calibrate`` goes on where it was stopped, and under torchrun it is shared out over its processes.

Exit status 0; 1 where ``check`` finds a fault or ``impact`` a KL above ``--max-kl`` or
``--budget``; 2, with one line on standard error, for anything wrong with what was given; 130 where
it was stopped, 141 where nobody reads standard output any more. What was asked for goes to standard
output or to ``--out``, which is written whole or not at all; what ``impact`` had finished by the
time it was stopped goes to standard output. How far the work is, what came of it and what is logged
(``--log-level``) go to standard error, the first on a terminal alone.
"""

from dashboard.cli.program import main

__all__ = ["main"]

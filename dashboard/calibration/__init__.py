"""A Checkpoint and a text -> a Calibration: each layer's conv input, counted exactly.

``capture`` runs the calibration batches through the model (``forward``) and counts what its
convolutions make (``counting``), in one process or in many (``processes``), which may be stopped
(``unfinished``); ``histogram`` is what is counted, and all that follows from it; ``batch_store``
keeps each batch's histogram on disk while a calibration runs, ``archive`` a whole calibration as a
file, and ``calibration_store`` those that were counted before; ``packed`` are the samples' own.
``whole_files`` writes what is whole or not there.
"""

from dashboard.calibration.capture import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    Calibration,
    CalibrationError,
    CalibrationText,
    ConvCapture,
    LayerCalibration,
    Origin,
    Progress,
    SliceCalibration,
    SliceScales,
    Tokenizer,
    calibrate,
    calibrate_in_passes,
    check_batch_size,
    cut_text,
    decoder,
    given_tokens,
    is_of_state_spaces,
    open_tokenizer,
    read_text,
    text_names,
    text_sha256,
    whole_text,
)
from dashboard.calibration.forward import visit_conv_inputs

__all__ = [
    "DEFAULT_BATCHES",
    "DEFAULT_SEQ_LEN",
    "DEFAULT_TEXT",
    "Calibration",
    "CalibrationError",
    "CalibrationText",
    "ConvCapture",
    "LayerCalibration",
    "Origin",
    "Progress",
    "SliceCalibration",
    "SliceScales",
    "Tokenizer",
    "calibrate",
    "calibrate_in_passes",
    "check_batch_size",
    "cut_text",
    "decoder",
    "given_tokens",
    "is_of_state_spaces",
    "open_tokenizer",
    "read_text",
    "text_names",
    "text_sha256",
    "visit_conv_inputs",
    "whole_text",
]

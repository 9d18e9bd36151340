"""Scalescope: what one number, an INT8 activation scale, does to a layer of a Mamba model.

The rooms follow one activation from file to figure, in this order:

    checkpoints/   a directory, file, Hub id or sample  -> Checkpoint
    calibration/   Checkpoint + text                    -> Calibration: exact histograms, and files
    rules/         histograms                           -> scales: rules, groups, every α at once
    formats/       histograms                           -> other number formats, and their scales
    analysis/      scales                               -> numbers: reports, comparison, health
    figures/       reports                              -> drawings
    text/          reports                              -> words, in two languages
    lesson/        a calibrated model                   -> steps, claims and the handout
    export/        reports                              -> tables, documents, Quamba's entries
    pages/, cli/, api/  choose, call, show

Each takes what the one before made, returns a new value, and knows nothing of what comes next.
"""

from dashboard.importing import claim_kernels

claim_kernels()

"""Scalescope: what one number, an INT8 activation scale, does to a layer of a Mamba model.

The modules follow one activation from file to figure, in this order:

    checkpoints   a directory or Hub id  -> Checkpoint (config, conv weights)
    calibration   Checkpoint + text      -> each layer's conv input and exact histograms
    histogram     counts of float16 values; quantile, and the error at any scale
    archive       Calibration            <-> a file
    observers     histograms             -> scale
    channels      conv input             -> a scale for each group of channels
    landscape     histograms             -> every α, the best, one for the model
    report        scale + live kernel    -> LayerReport
    figures/      reports                -> drawings; captions: the sentences beside them
    lesson/       numbers                -> what a lesson's step computes; screens/ what it shows
    claims        a calibrated model   -> each published claim, measured
    pages/, cli   choose, call, show

Each takes what the one before made, returns a new value, and knows nothing of what comes next.
"""

from dashboard.importing import claim_kernels

claim_kernels()

"""What each step of the lesson computes, one module an idea: numbers in, frozen records out.

    int8_range     a handful of values       -> their codes, and what comes back
    kernel_steps   one position of a layer   -> every number on its way through the kernel
    silu_shape     a spread                  -> SiLU's input and output, counted
    toy_example    the published toy example -> computed again
    outliers       a few large values        -> two scales, and what each costs
    calibrated     a calibrated model        -> its layers side by side; ratios; a score
    group_scales   channels                  -> a scale for each of (1, 4, 4) groups

Nothing here knows a word of any language, or how it is drawn.
"""

"""The lesson: twelve steps from one value and one scale to the choice of α for a trained model.

A file holds what one step computes, shows and asks:

    1  int8_range     a handful of values          -> their codes, and what comes back
    2  kernel_steps   one position of a layer      -> every number on its way through the kernel
    3  silu_shape     a spread                     -> SiLU's input and output, counted
    4  toy_example    the published toy example    -> computed again
    5  outliers       a few large values           -> two scales, and what each costs
    6  best_alpha     every layer over α           -> where each one's best lies
    7  ratios         the published ratios         -> what they compare; a guess, and its cost
    8  group_scales   channels in (1, 4, 4) groups -> scales in which no α is
    9  does_it_matter α, told apart by SQNR        -> whether the model's loss minds
    10 stop_caring    a sample on which α decides  -> when one may stop caring
    11 alpha_choice   an α for each layer          -> what it buys
    12 code_places    how dense 256 codes are      -> where they are best placed

``steps`` puts them in order, ``screen`` says what a step is made of, ``calibrated`` is the model
that steps 2 and 6 to 12 look at. ``claims`` holds the published analysis, quoted in ``quotations``,
to the same measurements, and ``handout`` is the whole lesson on paper. Nothing here knows a
browser; the figures are drawn by ``dashboard.figures``.
"""

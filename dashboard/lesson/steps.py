"""The lesson's steps, in the order in which they are taken; a file each."""

from dashboard.lesson import (
    alpha_choice,
    best_alpha,
    code_places,
    does_it_matter,
    group_scales,
    int8_range,
    kernel_steps,
    outliers,
    ratios,
    silu_shape,
    stop_caring,
    toy_example,
)
from dashboard.lesson.screen import Step

STEPS: tuple[Step, ...] = (
    int8_range.STEP,  # 1
    kernel_steps.STEP,  # 2
    silu_shape.STEP,  # 3
    toy_example.STEP,  # 4
    outliers.STEP,  # 5
    best_alpha.STEP,  # 6
    ratios.STEP,  # 7
    group_scales.STEP,  # 8
    does_it_matter.STEP,  # 9
    stop_caring.STEP,  # 10
    alpha_choice.STEP,  # 11
    code_places.STEP,  # 12
)

"""Reports -> drawings, one module a figure.

Each draws from records alone. One colour per concept everywhere. Axes hold still while the scale
moves: only lines and colour move, so that the change is what is seen.
"""

from dashboard.figures.alpha_sweep import alpha_sweep
from dashboard.figures.batches import moving_average_chart, orders_chart
from dashboard.figures.compare import compared_lines
from dashboard.figures.formats import format_heatmap, format_ruler, formats_over_bits
from dashboard.figures.heatmap import cost_heatmap, group_heatmap, heatmap, rule_heatmap
from dashboard.figures.held_out import held_out_landscapes
from dashboard.figures.impact_alpha import impact_alpha
from dashboard.figures.impact_layers import impact_layers
from dashboard.figures.impact_proxies import impact_proxies
from dashboard.figures.layers import layer_strip
from dashboard.figures.pipeline import pipeline
from dashboard.figures.scales import scale_table
from dashboard.figures.speed import copy_shares, roofline
from dashboard.figures.sweep import utilization_sweep
from dashboard.figures.theme import PALETTES
from dashboard.figures.transfer import transfer
from dashboard.figures.under_slider import landscape_under_slider

__all__ = [
    "PALETTES",
    "alpha_sweep",
    "compared_lines",
    "copy_shares",
    "cost_heatmap",
    "format_heatmap",
    "format_ruler",
    "formats_over_bits",
    "group_heatmap",
    "heatmap",
    "held_out_landscapes",
    "impact_alpha",
    "impact_layers",
    "impact_proxies",
    "landscape_under_slider",
    "layer_strip",
    "moving_average_chart",
    "orders_chart",
    "pipeline",
    "roofline",
    "rule_heatmap",
    "scale_table",
    "transfer",
    "utilization_sweep",
]

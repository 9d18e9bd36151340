"""Explore's four figures and a slider, drawn by Streamlit's own chart or by this project's.

    python -m streamlit run benchmarks/charts_app.py

``?by=plotly_chart`` or ``?by=drawing``. ``benchmarks/charts.py`` times both.
"""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dashboard import figures
from dashboard.pages import calibrating, drawing, studies
from dashboard.pages.sources import Source
from dashboard.rules.observers import ScaleRule, alpha_grid
from dashboard.text.language import ENGLISH

LAYER = 1

st.set_page_config(layout="wide")
source = Source("mamba2-tiny", "calibration.txt", 4, 256)
calibration = calibrating.calibration(source, lambda _: None)
alpha = st.select_slider("α", alpha_grid(10**5, []), 0.9995, key="alpha")
rule, beside = ScaleRule("percentile", alpha), ScaleRule("minmax", alpha)
study = studies.study_slice(source, LAYER, 0, rule, beside)
layers = [layer.layer for layer in calibration.layers]
reports = [studies.slice_report(source, layer, 0, rule) for layer in layers]
bests = [studies.best(source, layer, 0) for layer in layers]
drawn = {
    "strip": figures.layer_strip(layers, reports, bests, LAYER, ENGLISH),
    "transfer": figures.transfer(study.report, [(study.best, "best")], True, ENGLISH),
    "sweep": figures.utilization_sweep(study.sweep, study.held_to, ENGLISH),
    "table": figures.scale_table(study.rows, study.has_beside, ENGLISH),
}
for key, figure in drawn.items():
    if st.query_params.get("by") == "plotly_chart":
        st.plotly_chart(figure, key=key, theme=None)
    else:
        drawing.show(figure, key)

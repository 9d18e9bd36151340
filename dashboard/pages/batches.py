"""Batches: what a moving average keeps of them, and what it owes to their order."""

import numpy as np
import streamlit as st

from dashboard import figures
from dashboard.calibration.histogram import Histogram
from dashboard.export import tables
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_rows
from dashboard.pages.remembering import STATE, keep, kept, one_of
from dashboard.pages.speaking import spoken
from dashboard.rules.observers import DEFAULT_SIGMA, averaged
from dashboard.text import captions

say = spoken()

ORDERS = 500
SIGMAS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

choice, frame = choosing.choose()
calibration = choosing.calibrated(choice, frame)
counted = choice.of(calibration)

best = loading.landscape(choice.source, choice.layer, choice.part).best_alpha
kept("sigma", one_of(SIGMAS))
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    alpha, _ = choosing.alpha_slider(counted.silu_output.total, best, width=300)
    sigma = st.select_slider(
        "Weight σ of a new batch", SIGMAS, DEFAULT_SIGMA, key="sigma", width=260,
        help="m ← m + σ·(q − m), m seeded by the first batch. Quamba: 0.01.",
    )  # fmt: skip
    taken = st.slider(
        "Batches taken", 1, max(2, len(counted.batches)), len(counted.batches), key="taken",
        width=260, disabled=len(counted.batches) == 1,
    )  # fmt: skip
    shuffles = st.session_state.setdefault("shuffles", 0)

    def shuffle() -> None:
        """The next seed: another order."""
        STATE.shuffles += 1

    def as_read() -> None:
        STATE.shuffles = 0

    st.button("Shuffle the order", key="shuffle", on_click=shuffle)
    st.button("As read", key="as_read", on_click=as_read, disabled=shuffles == 0)
keep("sigma", sigma, DEFAULT_SIGMA)

batches = counted.batches[:taken]
order = None if shuffles == 0 else shuffles
quantiles = [batch.abs.quantile(alpha) for batch in batches]
average = averaged(quantiles, sigma, order)
pooled = Histogram.sum(batches).abs.quantile(alpha)
finals = np.array([averaged(quantiles, sigma, seed).final for seed in range(1, ORDERS + 1)])

st.markdown(f"## {captions.average_headline(average, pooled, say)}")
st.markdown(captions.average_verdict(average, pooled, say))
show(figures.moving_average_chart(average, pooled, say), key="average")
st.caption(captions.average_caption(average, sigma, say))
export_rows("average", tables.average_rows(average))
st.divider()
st.markdown(f"### The same batches in {ORDERS} orders\nHow often each final value comes out.")
show(figures.orders_chart(finals, average.final, pooled, say), key="orders")
st.caption(captions.orders_caption(finals, pooled, say))

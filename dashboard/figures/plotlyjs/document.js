// Draws the figures of a document that stands alone, in its reader's theme; on paper always light.

const dark = matchMedia("(prefers-color-scheme: dark)");

function drawAll(inDark) {
  for (const place of document.querySelectorAll(".plotly-figure")) {
    const text = place.querySelector("script").textContent;
    const plot = place.querySelector("div");
    const figure = JSON.parse(inDark && EXCHANGE ? inColours(text, EXCHANGE) : text);
    const width = Math.min(Number(place.dataset.width), place.clientWidth || Infinity);
    const { layout } = fit(figure, width, NARROW, getComputedStyle(place).fontFamily);
    layout.dragmode = false;
    plot.style.height = `${layout.height}px`;
    Plotly.react(plot, figure.data, layout, { displayModeBar: false });
  }
}

const draw = () => drawAll(dark.matches);
draw();
dark.addEventListener("change", draw);
addEventListener("resize", draw);
addEventListener("beforeprint", () => drawAll(false));
addEventListener("afterprint", draw);

// Draws the figures of a document that stands alone, in its reader's theme; on paper always light.

const PAPER = 700; // px that a printed page has, A4 or Letter; wider ones the printer would shrink
const dark = matchMedia("(prefers-color-scheme: dark)");

function drawAll(inDark, widest = Infinity) {
  for (const place of document.querySelectorAll(".plotly-figure")) {
    const text = place.querySelector("script").textContent;
    const plot = place.querySelector("div");
    const figure = JSON.parse(inDark && EXCHANGE ? inColours(text, EXCHANGE) : text);
    const width = Math.min(Number(place.dataset.width), place.clientWidth || Infinity, widest);
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
addEventListener("beforeprint", () => drawAll(false, PAPER));
addEventListener("afterprint", draw);

// Draws a figure and reads what Plotly has made of it: a sentence for each label that leaves the
// frame, lies on another, or lies on a curve, a dot or a line. legibility.py calls it.

const SPARE = 1.5; // px on each side by which a box of text is larger than its letters
const WORDS =
  ".annotation-text, [class$=tick] text, [class^=g-] text, .legendtext, .bartext, .heatmap-label text";
const LINES = ".scatterlayer .js-line, .shapelayer path";

async function faults([text, width, narrow, family]) {
  const figure = JSON.parse(text);
  const plot = document.querySelector("#plot");
  const { layout } = window.fit(figure, width, narrow, family);
  Object.assign(plot.style, { width: `${width}px`, height: `${layout.height}px` });
  await Plotly.newPlot(plot, figure.data, layout, { displayModeBar: false, staticPlot: true });
  const frame = plot.getBoundingClientRect();
  const boxOf = (node, less) => {
    const box = node.getBoundingClientRect();
    return {
      text: node.textContent,
      left: box.left - frame.left + less,
      right: box.right - frame.left - less,
      top: box.top - frame.top + less,
      bottom: box.bottom - frame.top - less,
    };
  };
  const wrong = new Set();
  const labels = [...plot.querySelectorAll(WORDS)]
    .filter((node) => node.textContent.trim() && isSeen(node))
    .map((node) => boxOf(node, SPARE));
  const low = -2 * SPARE;
  for (const { text, left, top, right, bottom } of labels)
    if (left < low || top < low || right > width - low || bottom > layout.height - low)
      wrong.add(`"${text}" leaves the frame`);
  labels.forEach((a, i) => {
    for (const b of labels.slice(i + 1))
      if (meet(a, b)) wrong.add(`"${a.text}" lies on "${b.text}"`);
  });
  const dots = [...plot.querySelectorAll(".scatterlayer .point")].map((dot) => boxOf(dot, 0));
  const points = [...plot.querySelectorAll(LINES)].flatMap((path) => along(plot, path));
  for (const label of labels) {
    if (dots.some((dot) => meet(label, dot))) wrong.add(`"${label.text}" lies on a dot`);
    if (points.some((point) => meet(label, point))) wrong.add(`"${label.text}" lies on a line`);
  }
  return [...wrong];
}

function isSeen(node) {
  const box = node.getBoundingClientRect();
  const style = getComputedStyle(node);
  return box.width && box.height && style.display !== "none" && Number(style.opacity) > 0;
}

const meet = (a, b) =>
  a.right > b.left && b.right > a.left && a.bottom > b.top && b.bottom > a.top;

// A line's points, 2 px apart, as boxes without a size; of a curve those within its axes.
function along(plot, path) {
  const style = getComputedStyle(path);
  if (style.stroke === "none" || !Number(style.strokeOpacity) || !parseFloat(style.strokeWidth))
    return [];
  const area = path.closest("g.subplot") ? axes(plot, path.closest("g.subplot")) : null;
  const matrix = path.getCTM();
  const points = [];
  for (let at = 0; at <= path.getTotalLength(); at += 2) {
    const { x, y } = path.getPointAtLength(at).matrixTransform(matrix);
    const point = { left: x - 0.01, right: x + 0.01, top: y - 0.01, bottom: y + 0.01 };
    if (!area || meet(point, area)) points.push(point);
  }
  return points;
}

function axes(plot, subplot) {
  const [, across, up] = subplot.classList[1].match(/x(\d*)y(\d*)/);
  const x = plot._fullLayout[`xaxis${across}`];
  const y = plot._fullLayout[`yaxis${up}`];
  return {
    left: x._offset, right: x._offset + x._length, top: y._offset, bottom: y._offset + y._length,
  };
}

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

// A line's points, at most 2 px apart, as boxes without a size; of a curve those within its axes.
function along(plot, path) {
  const style = getComputedStyle(path);
  if (style.stroke === "none" || !Number(style.strokeOpacity) || !parseFloat(style.strokeWidth))
    return [];
  const area = path.closest("g.subplot") ? axes(plot, path.closest("g.subplot")) : null;
  const matrix = path.getCTM();
  const points = [];
  for (const [x1, y1, x2, y2] of segments(path)) {
    const steps = Math.ceil(Math.hypot(x2 - x1, y2 - y1) / 2) || 1;
    for (let step = 0; step <= steps; step += 1) {
      const [x, y] = [x1 + ((x2 - x1) * step) / steps, y1 + ((y2 - y1) * step) / steps];
      const placed = { x: matrix.a * x + matrix.c * y + matrix.e, y: matrix.b * x + matrix.d * y + matrix.f };
      const point = {
        left: placed.x - 0.01, right: placed.x + 0.01, top: placed.y - 0.01, bottom: placed.y + 0.01,
      };
      if (!area || meet(point, area)) points.push(point);
    }
  }
  return points;
}

// The straight pieces of a path. getPointAtLength walks a path from its beginning at each call, so
// that a staircase of 2000 steps would take minutes; it is asked where a path has curves alone.
function segments(path) {
  const pieces = [];
  let [x, y, fromX, fromY] = [0, 0, 0, 0];
  for (const [, command, rest] of path.getAttribute("d").matchAll(/([a-zA-Z])([^a-zA-Z]*)/g)) {
    const values = (rest.match(/-?[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
    if (!"MLHVZ".includes(command)) return curved(path);
    if (command === "Z") values.push(fromX, fromY);
    const size = "HV".includes(command) ? 1 : 2;
    for (let at = 0; at < values.length; at += size) {
      const to = { H: [values[at], y], V: [x, values[at]] }[command] ?? values.slice(at, at + 2);
      if (command === "M" && at === 0) [fromX, fromY] = to;
      else pieces.push([x, y, ...to]);
      [x, y] = to;
    }
  }
  return pieces;
}

function curved(path) {
  const points = [];
  for (let at = 0; at <= path.getTotalLength(); at += 2) points.push(path.getPointAtLength(at));
  return points.slice(1).map((point, i) => [points[i].x, points[i].y, point.x, point.y]);
}

function axes(plot, subplot) {
  const [, across, up] = subplot.classList[1].match(/x(\d*)y(\d*)/);
  const x = plot._fullLayout[`xaxis${across}`];
  const y = plot._fullLayout[`yaxis${up}`];
  return {
    left: x._offset, right: x._offset + x._length, top: y._offset, bottom: y._offset + y._length,
  };
}

// Shows a Plotly figure and keeps its plot alive: what changes is changed in place.
//
// The figure comes as JSON in the light palette's colours. Here it gets the colours and the font of
// the page, the width that there is, and what a page's figure has beside its plot: alt text, its
// rectangles as buttons for keyboard and screen reader, and a bar to save it.

import { fit, inColours } from "../scalescope.plotly/prepare.js";

const PLAIN = 3; // px that a pointer may move and still click
const MARGIN = 28; // px left free under a picture in a room
const PIXELS = 2; // of a saved PNG, to one of the page

// The figures on show, by their keys; while they are held, what comes for them waits.
export const figures = new Map();
export const onDrawn = new Set(); // called with the key of each figure that was drawn
let held = false;

export function hold(whether) {
  held = whether;
  if (!held) for (const root of figures.values()) soon(root);
}

// One figure is drawn after the other, what fills most of the window first, and the page is painted
// and answers in between.
const BETWEEN = 30; // ms between figures that are out of sight
const waiting = new Set();
let next = 0;

function soon(root) {
  reserve(root);
  waiting.add(root);
  next ||= setTimeout(drawNext);
}

function areaInSight(root) {
  const { top, bottom, width } = root.getBoundingClientRect();
  return Math.max(Math.min(bottom, innerHeight) - Math.max(top, 0), 0) * width;
}

const painted = () => new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));

async function drawNext() {
  for (const root of waiting) if (!root.isConnected) waiting.delete(root);
  const root = [...waiting].reduce(
    (first, other) => (first && areaInSight(first) >= areaInSight(other) ? first : other), null);
  waiting.delete(root);
  try {
    if (root) await paint(root);
    if (!document.hidden) await painted();
  } finally { // one that cannot be drawn holds up no other
    next = waiting.size ? setTimeout(drawNext, [...waiting].some(areaInSight) ? 0 : BETWEEN) : 0;
  }
}

let library;

// plotly.js, once a page. The address says the version, so a copy in the cache never is out of date.
export function plotly(address) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error(`plotly.js: nothing came from ${address}`));
    script.src = address;
    document.head.append(script);
  });
  return library;
}

function isDark(root) {
  const colour = getComputedStyle(root).getPropertyValue("--st-background-color").trim();
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return red + green + blue < 384;
}

// In a room a picture is as large as its frame allows, down to its own size: seen at one glance.
function fitting(root, zoom, height) {
  if (zoom <= 1) return zoom;
  const top = root.getBoundingClientRect().top + (root.closest("main")?.scrollTop ?? 0);
  return Math.min(zoom, Math.max(1, (innerHeight - Math.max(top, 0) - MARGIN) / height));
}

function prepared(root) {
  const { data, exchange, narrow } = root.shown;
  const figure = JSON.parse(isDark(root) ? inColours(data.figure, exchange) : data.figure);
  const { layout } = figure;
  const zoom = fitting(root, data.zoom, layout.height);
  const family = getComputedStyle(root).getPropertyValue("--st-font") || "sans-serif";
  fit(figure, root.clientWidth / zoom, narrow, family);
  keepZoom(root, layout);
  // A finger that scrolls the page must not be taken for one that zooms; the bar has buttons.
  if (!zooms(layout).length || matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  return { figure, zoom };
}

const zooms = (layout) =>
  Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name) && layout[name].fixedrange === false);

// Zoom stays while the figure is about the same thing (its uirevision), and is in the link:
// "transfer.xaxis_-1_2", joined by "~".

const LINK = "zoom";

function linkedZooms() {
  const words = new URLSearchParams(location.search).get(LINK)?.split("~") ?? [];
  return words.map((word) => word.match(/^([\w-]+)\.([xy]axis\d*)_(-?[\d.e+-]+)_(-?[\d.e+-]+)$/))
    .filter(Boolean)
    .map(([, key, axis, low, high]) => ({ key, axis, range: [Number(low), Number(high)] }))
    .filter(({ range }) => range.every(Number.isFinite));
}

export function putInLink(name, value) {
  const url = new URL(location.href);
  if ((url.searchParams.get(name) ?? "") === value) return;
  if (value) url.searchParams.set(name, value);
  else url.searchParams.delete(name);
  history.replaceState(history.state, "", url);
}

let asked = linkedZooms(); // by the link that the browser came with, of figures still to come

function putZoomInLink() {
  const words = asked.map(({ key, axis, range }) => `${key}.${axis}_${range.join("_")}`);
  for (const [key, { zoomed }] of figures)
    for (const [axis, range] of Object.entries(zoomed ?? {}))
      words.push(`${key}.${axis}_${range.map((value) => Number(value.toPrecision(5))).join("_")}`);
  putInLink(LINK, words.join("~"));
}

function keepZoom(root, layout) {
  const subject = JSON.stringify(layout.uirevision ?? root.shown.data.figure);
  if (root.subject === undefined) {
    const own = asked.filter(({ key }) => key === root.shown.data.key);
    asked = asked.filter((entry) => !own.includes(entry));
    root.zoomed = Object.fromEntries(own.map(({ axis, range }) => [axis, range]));
  } else if (root.subject !== subject) root.zoomed = {};
  root.subject = subject;
  root.whole = {};
  for (const name of zooms(layout)) {
    root.whole[name] = layout[name].range;
    if (root.zoomed[name]) Object.assign(layout[name], { range: root.zoomed[name], autorange: false });
  }
}

function noteZoom(root) {
  const plot = root.querySelector(".plot");
  for (const name of zooms(plot.layout)) {
    const axis = plot._fullLayout[name], whole = root.whole[name];
    const same = whole ? axis.range.every((end, i) => Math.abs(end - whole[i]) < 1e-9 * Math.abs(whole[1] - whole[0]))
      : axis.autorange;
    if (same) delete root.zoomed[name];
    else root.zoomed[name] = [...axis.range];
  }
  putZoomInLink();
}

const stateOf = (root) =>
  [root.shown.data.figure, root.shown.data.zoom, root.clientWidth, isDark(root)].join("\n");

// What is drawn next, and its room on the page, so that nothing moves when the drawing comes.
function reserve(root) {
  const state = stateOf(root);
  if (held || !root.clientWidth || [root.painted, root.reserved?.state].includes(state)) return;
  const { figure, zoom } = prepared(root);
  root.reserved = { state, figure, zoom };
  root.style.height = `${figure.layout.height * zoom}px`;
}

async function paint(root) {
  if (held || !root.clientWidth || !root.shown) return;
  const { data } = root.shown;
  const state = stateOf(root);
  if (state === root.painted) return root.beforeDrawing?.();
  reserve(root);
  root.painted = state;
  const { figure, zoom } = root.reserved;
  const { layout } = figure;
  root.dataset.theme = isDark(root) ? "dark" : "light";
  root.scale = zoom;
  root.meta = layout.meta;
  const plot = root.querySelector(".plot");
  plot.setAttribute("aria-label", layout.meta.alt);
  plot.setAttribute("role", "img");
  plot.style.transform = zoom === 1 ? "" : `scale(${zoom})`;
  Object.assign(root.querySelector(".words").style, {
    transform: plot.style.transform, transformOrigin: "0 0",
  });
  const Plotly = await plotly(root.shown.library);
  if (state !== root.painted) return; // a later one has come in the meantime
  putZoomInLink();
  root.beforeDrawing?.();
  await Plotly.react(plot, figure.data, layout, {
    displayModeBar: false,
    responsive: false,
    scrollZoom: false,
    doubleClick: false, // its own idea of the whole is that of the first drawing
    showTips: false,
  });
  if (!root.heard) {
    root.heard = true;
    plot.on("plotly_relayout", () => {
      noteZoom(root);
      return settle(root);
    });
    plot.on("plotly_doubleclick", () => zoom(root, 0));
  }
  await settle(root);
  root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
  for (const call of onDrawn) call(data.key);
}

// After a drawing and after a zoom: axes that follow another do so, picks lie where they belong.
async function settle(root) {
  const plot = root.querySelector(".plot");
  const changes = {};
  for (const [name, [other, below]] of Object.entries(root.meta.linked ?? {})) {
    const [low, high] = plot._fullLayout[other].range;
    const wanted = [low - below * (high - low), high];
    const shown = plot._fullLayout[name].range;
    if (Math.abs(wanted[0] - shown[0]) + Math.abs(wanted[1] - shown[1]) > 1e-6 * (high - low))
      changes[`${name}.range`] = wanted;
  }
  if (Object.keys(changes).length) await window.Plotly.relayout(plot, changes);
  furnish(root, zooms(plot.layout).length > 0);
}

// Where a pick lies, in px of the plot.
function placed(plot, pick) {
  const { _size: size } = plot._fullLayout;
  const ends = (values, name, start, length, whole) => {
    if (name === "paper") return values.map((value) => start + value * length);
    if (name === "figure") return values.map((value) => value * whole);
    const axis = plot._fullLayout[name.replace(/^([xy])/, "$1axis")];
    return values.map((value) => axis._offset + axis.d2p(value));
  };
  const [left, right] = ends(pick.x, pick.axes[0], size.l, size.w, plot._fullLayout.width).sort((a, b) => a - b);
  const [top, bottom] = ends(pick.y, pick.axes[1], size.t + size.h, -size.h, plot._fullLayout.height).sort((a, b) => a - b);
  return { left, right, top, bottom };
}

function pickAt(root, event) {
  const plot = root.querySelector(".plot");
  if (!plot._fullLayout || event.target.closest?.(".bar")) return undefined;
  const frame = plot.getBoundingClientRect();
  const x = (event.clientX - frame.left) / root.scale;
  const y = (event.clientY - frame.top) / root.scale;
  return root.meta.picks.find((pick) => {
    const { left, right, top, bottom } = placed(plot, pick);
    return left <= x && x <= right && top <= y && y <= bottom;
  });
}

function choose(root, pick) {
  root.shown.setTriggerValue("picked", pick.value);
}

// Buttons over the plot for keyboard and screen reader; the pointer passes through them.
function furnish(root, zoomable) {
  const plot = root.querySelector(".plot");
  const list = root.querySelector(".picks");
  const picks = root.meta.picks.filter((pick) => pick.by_key);
  while (list.children.length > picks.length) list.lastChild.remove();
  while (list.children.length < picks.length) {
    const button = document.createElement("button");
    button.type = "button";
    list.append(button);
  }
  picks.forEach((pick, i) => {
    const { left, right, top, bottom } = placed(plot, pick);
    const button = list.children[i];
    button.setAttribute("aria-label", pick.label);
    button.dataset.value = pick.value;
    const px = (value) => `${value * root.scale}px`;
    Object.assign(button.style, {
      left: px(left), top: px(top), width: px(right - left), height: px(bottom - top),
    });
    button.onclick = () => choose(root, pick);
  });
  root.querySelectorAll(".bar .zooming").forEach((button) => (button.hidden = !zoomable));
}

// The figure as a file, with its provenance above and below, on its own ground.
async function save(root, format) {
  const { data } = root.shown;
  const Plotly = await plotly(root.shown.library);
  const plot = root.querySelector(".plot");
  const { layout } = plot;
  const above = data.title ? 34 : 8, below = data.note ? 30 : 8, side = 12;
  const margin = { ...plot._fullLayout.margin };
  for (const [edge, room] of Object.entries({ t: above, b: below, l: side, r: side }))
    margin[edge] += room;
  const words = (text, y, yanchor, size, bold) => ({
    text: bold ? `<b>${text}</b>` : text, x: 0, y, xref: "container", yref: "container",
    xanchor: "left", yanchor, font: { size },
  });
  const height = layout.height + above + below, width = layout.width + 2 * side;
  const noted = data.note
    ? [{
        text: data.note, showarrow: false, xref: "paper", yref: "paper", x: 0, y: 0,
        xanchor: "left", yanchor: "top", xshift: -plot._fullLayout._size.l,
        yshift: -plot._fullLayout._size.b - 6, font: { size: 11 },
      }]
    : [];
  const image = {
    data: plot.data,
    layout: {
      ...layout, height, width, margin,
      annotations: [...(layout.annotations ?? []), ...noted],
      ...(data.title
        ? { title: { ...words(data.title, 1 - 10 / height, "top", 14, true), x: side / width, automargin: false } }
        : {}),
    },
  };
  const url = await Plotly.toImage(image, {
    format, width, height, scale: format === "png" ? PIXELS : 1,
  });
  const link = document.createElement("a");
  link.href = url;
  link.download = `${data.file}.${format}`;
  link.click();
}

// Every free axis, shown closer or from farther away; 0 shows the whole again.
async function zoom(root, factor) {
  const Plotly = await plotly(root.shown.library);
  const plot = root.querySelector(".plot");
  const changes = {};
  for (const name of zooms(plot.layout)) {
    const axis = plot._fullLayout[name];
    const [low, high] = axis.range, half = ((high - low) / 2) * factor, middle = (low + high) / 2;
    const whole = root.whole[name];
    if (factor) changes[`${name}.range`] = [middle - half, middle + half];
    else if (whole) changes[`${name}.range`] = whole;
    else changes[`${name}.autorange`] = true;
  }
  await Plotly.relayout(plot, changes);
}

const ACTIONS = {
  png: (root) => save(root, "png"),
  svg: (root) => save(root, "svg"),
  closer: (root) => zoom(root, 0.5),
  farther: (root) => zoom(root, 2),
  whole: (root) => zoom(root, 0),
};

function begin(root) {
  const bar = root.querySelector(".bar");
  bar.onclick = (event) => ACTIONS[event.target.closest("button")?.dataset.action]?.(root);
  let pressed = null;
  root.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 ? [event.clientX, event.clientY, event.pointerId] : null;
  }, true);
  // Plotly covers the page while a button is down, so the figure does not see it let go.
  root.release = (event) => {
    if (pressed === null || event.pointerId !== pressed[2]) return;
    const moved = Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]);
    pressed = null;
    const pick = moved <= PLAIN && pickAt(root, event);
    if (pick) choose(root, pick);
  };
  window.addEventListener("pointerup", root.release, true);
  root.addEventListener("pointermove", (event) => {
    if (!event.buttons) root.classList.toggle("choosing", pickAt(root, event) !== undefined);
  });
  root.observer = new ResizeObserver(() => (root.dataset.drawn ? paint(root) : soon(root)));
  root.observer.observe(root);
  // The style sheet has a transition of 1 ms on it, so that a change of theme is noticed.
  root.addEventListener("transitionend", (event) => {
    if (event.propertyName === "outline-color") paint(root);
  });
  root.end = () => {
    if (figures.get(root.shown.data.key) === root) figures.delete(root.shown.data.key);
    asked = [];
    putZoomInLink();
    window.removeEventListener("pointerup", root.release, true);
    root.observer.disconnect();
    window.Plotly?.purge(root.querySelector(".plot"));
  };
}

export function show(root, shown) {
  const known = root.shown !== undefined;
  root.shown = shown;
  figures.set(shown.data.key, root);
  root.querySelectorAll(".bar button").forEach((button, i) => {
    button.title = shown.data.words[i];
    button.setAttribute("aria-label", button.title);
  });
  if (!known) begin(root);
  soon(root);
}

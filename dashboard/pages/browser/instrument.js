// Explore under the hand: a cut line is dragged, and every figure, number and sentence follows.
//
// Python has answered for every α of the axis (dashboard/figures/moving.py). Here the answer for one
// α is shown: outlines and words stand in for those that Plotly has drawn, and once the hand lets go
// the server is asked, whose figures and numbers then take their place.

import { Probe } from "./probe.js";
import { code, silu } from "./silu.js";

const NEAR = { mouse: 9, pen: 14, touch: 26 }; // px from a cut line within which it is taken hold of
const STILL = 3; // px that a pointer may move and still click
const REST = 400; // ms after the last key until the server is asked

let figures, hold, putInLink; // of figure.js, as the page's figures have it
let table = null; // an answer for every α of the axis, for one subject
let shown = null; // what the server's figures show: subject, index of α or null, cut, codes
let ask = null; // tells the server an α
let live = null; // the index of the α that is shown here, ahead of the server; null: nothing is
let drawn = null; // the index that was drawn last
let frame = 0; // the animation frame that is asked for
let pressed = null; // the pointer that holds the cut line, and where
let resting = 0; // the timer after a key
let following = false; // whether the slider is being told, and does not tell

let line = null; // where the probe writes

const ready = () => table !== null && shown !== null && table.subject === shown.subject;
const current = () => live ?? shown?.chosen ?? null;

// The scale that is on show, and how many values each code has under it.
const answer = (i = live) => i === null
  ? shown : { scale: table.scale[i], zero: table.zero[i], counts: table.counts[i] };

// Drawing: each trace that moves has a stand-in where Plotly has drawn it, and Plotly's own is hidden.
// Nothing of Plotly's is changed, so that nothing has to be put right afterwards.

const SVG = "http://www.w3.org/2000/svg";
const standIns = new Map(); // of a plot: name -> {trace, node, path, own, axes}

function axesOf(plot, trace) {
  const axis = (name, letter) => plot._fullLayout[(name ?? letter).replace(letter, `${letter}axis`)];
  return [axis(trace.xaxis, "x"), axis(trace.yaxis, "y")];
}

const drawnNode = (plot, index) =>
  plot._fullData[index].visible === true && plot.querySelector(`.trace${plot._fullData[index].uid}`);

// Of the nth trace of a name; null where the figure has none.
function standIn(plot, name, nth = 0) {
  if (!standIns.has(plot)) standIns.set(plot, new Map());
  const known = standIns.get(plot), key = `${name} ${nth}`;
  if (!known.has(key)) known.set(key, made(plot, name, nth));
  return known.get(key);
}

function made(plot, name, nth) {
  const index = plot.data.flatMap((trace, i) => (trace.name === name ? [i] : []))[nth];
  if (index === undefined) return null;
  const trace = plot.data[index], own = drawnNode(plot, index) || null;
  if (trace.visible === false) return null; // a phone has no room for it
  const paths = trace.mode === "lines";
  const node = paths || !own ? document.createElementNS(SVG, "g") : own.cloneNode(true);
  node.setAttribute("class", "stand-in");
  if (own) {
    own.after(node);
    own.style.display = "none";
  } else {
    const [x, y] = [trace.xaxis ?? "x", trace.yaxis ?? "y"];
    const under = plot.querySelector(`.subplot.${x}${y} .scatterlayer`);
    if (!under) return null;
    // Plotly draws nothing for a trace without points: it stands under what follows it.
    const next = plot.data.findIndex((other, i) =>
      i > index && (other.xaxis ?? "x") === x && (other.yaxis ?? "y") === y &&
      drawnNode(plot, i)?.parentNode === under);
    under.insertBefore(node, next < 0 ? null : drawnNode(plot, next));
  }
  let path = null;
  if (paths) {
    path = document.createElementNS(SVG, "path");
    const style = own?.querySelector(trace.fill ? ".js-fill" : ".js-line")?.getAttribute("style");
    path.setAttribute("style", style ?? plainStyle(trace));
    node.append(path);
  }
  const { x, y } = plot._fullData[index]; // numbers, where the JSON has them packed
  return { trace, node, path, own, x, y, axes: axesOf(plot, trace) };
}

function plainStyle({ fill, fillcolor, line }) {
  return fill ? `fill:${fillcolor};stroke-width:0`
    : `fill:none;stroke:${line.color};stroke-width:${line.width}px`;
}

// Points as a path; null parts it.
function outlined([across, up], x, y, closed) {
  let d = "", begin = true;
  for (let i = 0; i < x.length; i++) {
    if (x[i] === null || y[i] === null || Number.isNaN(x[i]) || Number.isNaN(y[i])) {
      if (closed && !begin) d += "Z";
      begin = true;
      continue;
    }
    d += `${begin ? "M" : "L"}${across.l2p(x[i]).toFixed(2)},${up.l2p(y[i]).toFixed(2)}`;
    begin = false;
  }
  return closed && d && !begin ? `${d}Z` : d;
}

function draw(plot, name, x, y, nth) {
  const found = standIn(plot, name, nth);
  if (!found) return;
  const { trace, node, path, axes } = found;
  if (path) path.setAttribute("d", outlined(axes, x, y, Boolean(trace.fill)) || "M0,0");
  else node.querySelector(".point")?.setAttribute(
    "transform", `translate(${axes[0].l2p(x[0])},${axes[1].l2p(y[0])})`);
}

// A histogram's outline over some stretches of its axis, as transfer.py has it.
function outline(histogram, stretches) {
  const [first, last] = histogram.edges, n = histogram.heights.length, wide = (last - first) / n;
  const at = [], tall = [];
  for (const [low, high] of stretches) {
    const from = Math.max(low ?? -Infinity, first), to = Math.min(high ?? Infinity, last);
    if (!(from < to)) continue;
    at.push(from);
    tall.push(histogram.foot);
    const begin = Math.max(0, Math.floor((from - first) / wide - 1e-9));
    for (let i = begin; i < n && first + i * wide < to; i++) {
      at.push(Math.max(first + i * wide, from), Math.min(first + (i + 1) * wide, to));
      tall.push(histogram.heights[i], histogram.heights[i]);
    }
    at.push(to, null);
    tall.push(histogram.foot, null);
  }
  return [at, tall];
}

const KINDS = {
  split(plot, move, i) {
    move.traces.forEach((name, side) => {
      let at = [], tall = [];
      for (const histogram of move.histograms) {
        const cut = histogram.cut?.[i];
        const stretches = histogram.cut
          ? [side ? [cut, null] : [null, cut]]
          : histogram.stretches[side][i];
        const [more, higher] = outline(histogram, stretches);
        at = at.concat(more);
        tall = tall.concat(higher);
      }
      if (move.upright) draw(plot, name, at, tall);
      else draw(plot, name, tall, at);
    });
  },
  points(plot, move, i) {
    const known = standIn(plot, move.trace, move.nth);
    if (!known) return;
    const { x, y } = move.points[i];
    draw(plot, move.trace, x ?? known.x, y ?? known.y, move.nth);
  },
  clamp(plot, move, i) {
    const { x } = standIn(plot, move.trace) ?? {};
    if (!x) return;
    const y = Array.from(x, (v) => Math.min(Math.max(silu(v), move.low[i]), move.high[i]));
    draw(plot, move.trace, x, y);
  },
  wedge(plot, move, i) {
    const from = move.from[i], to = Math.max(move.to, from);
    const v = Array.from({ length: 40 }, (_, k) => from + ((to - from) * k) / 39);
    draw(plot, move.line, v, v.map(silu));
    draw(plot, move.area, [...v, to], [...v.map(silu), move.high[i]]);
  },
  stairs(plot, move, i) {
    const { x } = standIn(plot, move.trace) ?? {};
    if (!x) return;
    const { scale, zero } = answer(i);
    const y = Array.from(x, (v) => (code(silu(v), scale, zero) - zero) * scale);
    draw(plot, move.trace, x, y);
  },
  ticks(plot, move, i) {
    const x = move.cuts.flatMap((cut) => [cut[i], cut[i], null]);
    draw(plot, move.trace, x, move.cuts.flatMap(() => [0, move.top, null]));
  },
  gains(plot, move, i) {
    const gains = move.gains.map((gain) => gain[i]);
    const most = Math.max(0.05, ...gains.filter(Number.isFinite));
    const x = [], y = [];
    gains.forEach((gain, k) => {
      if (gain < 0.05) return;
      const top = move.least + (move.top - move.least) * Math.min(gain / most, 1);
      x.push(k, k, k + move.cell, k + move.cell, null);
      y.push(move.least, top, top, move.least, null);
    });
    draw(plot, move.trace, x, y);
  },
  codes(plot, move, i) {
    const heights = move.heights[i], { foot } = move, [outlines, spikes, stranded] = move.traces;
    const x = [-128.5], y = [foot];
    heights.forEach((height, k) => {
      const tall = move.ends[i].includes(k - 128) ? foot : foot + height;
      x.push(k - 128.5, k - 127.5);
      y.push(tall, tall);
    });
    draw(plot, outlines, [...x, 127.5], [...y, foot]);
    const sx = [], sy = [];
    for (const end of move.ends[i]) {
      const left = end > 0 ? end - 1.5 : end - 0.5, top = foot + heights[end + 128];
      sx.push(left, left, left + 2, left + 2, null);
      sy.push(foot, top, top, foot, null);
    }
    draw(plot, spikes, sx, sy);
    const right = move.stranded[i] - 128.5;
    const hatched = move.stranded[i] ? [-128.5, -128.5, right, right] : [];
    draw(plot, stranded, hatched, hatched.length ? [foot, foot + 0.26, foot + 0.26, foot] : []);
  },
  bar(plot, move, i) {
    const { trace, node, axes, y } = standIn(plot, move.trace) ?? {};
    const bar = node?.querySelectorAll(".point path")[move.bar];
    if (!bar) return;
    const [across, up] = axes;
    const middle = y[move.bar], half = trace.width / 2;
    const [left, right] = [move.from[i], move.to[i]].map((value) => across.l2p(value));
    const [top, bottom] = [middle + half, middle - half].map((value) => up.l2p(value));
    bar.setAttribute("d", `M${left},${top}V${bottom}H${right}V${top}Z`);
  },
  shape(plot, move, i) {
    const index = plot.layout.shapes.findIndex((shape) => shape.name === move.shape);
    const node = plot.querySelector(`.shapelayer path[data-index="${index}"]`);
    if (!node) return;
    const shape = plot._fullLayout.shapes[index], axis = plot._fullLayout.xaxis;
    node.setAttribute("transform", `translate(${axis.l2p(move.x[i]) - axis.l2p(shape.x0)},0)`);
  },
  texts(plot, move, i) {
    const { trace, node, axes } = standIn(plot, move.trace) ?? {};
    if (!trace) return;
    node.style.display = "none";
    const [across, up] = axes;
    const { size, color } = trace.textfont;
    const { x, y, text } = move.texts[i];
    text.forEach((words, k) => {
      const place = { x: across._offset + across.l2p(x[k]), y: up._offset + up.l2p(y[k]) };
      const [vertical, horizontal] = String(trace.textposition).split(" ");
      write(plot, words, place, {
        xanchor: { left: "right", center: "center", right: "left" }[horizontal],
        yanchor: { top: "bottom", middle: "middle", bottom: "top" }[vertical],
        size, color, pad: 0,
      });
    });
  },
};

// Words: Plotly's own are hidden while others stand in their places, over the plot.

const layer = (plot) => plot.parentElement.querySelector(".words");

function write(plot, text, place, { xanchor, yanchor, size, color, ground, pad = 1 }) {
  const word = document.createElement("span");
  word.innerHTML = text; // made by Python, its values escaped there
  const [dx, dy] = [
    { left: 0, center: -50, right: -100 }[xanchor],
    { top: 0, middle: -50, bottom: -100 }[yanchor],
  ];
  Object.assign(word.style, {
    left: `${place.x}px`, top: `${place.y}px`, transform: `translate(${dx}%,${dy}%)`,
    font: `${size}px/1.3 ${plot._fullLayout.font.family}`, color, textAlign: xanchor,
    background: ground ?? "none", padding: `0 ${pad}px`,
  });
  layer(plot).append(word);
}

// Where a reference ("x2", "y domain", "paper") puts a value, in px of the plot.
function placed(plot, ref, value) {
  const full = plot._fullLayout, size = full._size, kind = ref.replace(/ domain$/, "");
  if (kind === "paper") return null;
  const axis = full[kind.replace(/^([xy])/, "$1axis")];
  if (ref.endsWith("domain")) {
    const share = kind[0] === "x" ? value : 1 - value;
    return axis._offset + share * axis._length;
  }
  return axis._offset + axis.l2p(value);
}

// Where a note stands, in px of the plot, with some of its words.
function noted(plot, note, x, y) {
  const { _size: size } = plot._fullLayout;
  return {
    x: (placed(plot, note.xref, x) ?? size.l + x * size.w) + (note.xshift ?? 0),
    y: (placed(plot, note.yref, y) ?? size.t + (1 - y) * size.h) - (note.yshift ?? 0),
  };
}

// How far from there Plotly's own words are: it measures them, and pads them, in its own way.
function shift(plot, note, node, { xanchor, yanchor, font, opacity }) {
  const text = opacity > 0 && node?.querySelector(".annotation-text");
  if (!text) return { x: 0, y: 0 };
  const frame = plot.getBoundingClientRect(), box = text.getBoundingClientRect();
  const scale = frame.width / plot._fullLayout.width;
  const at = noted(plot, note, note.x, note.y);
  const tall = 1.3 * font.size * note.text.split("<br>").length;
  const side = { left: box.left, center: (box.left + box.right) / 2, right: box.right }[xanchor];
  const middle = at.y + { top: tall / 2, middle: 0, bottom: -tall / 2 }[yanchor];
  return {
    x: (side - frame.left) / scale - at.x,
    y: ((box.top + box.bottom) / 2 - frame.top) / scale - middle,
  };
}

function moveWords(plot, words, i) {
  const full = plot._fullLayout;
  if (!hidden.has(plot)) hidden.set(plot, new Map());
  const own = hidden.get(plot);
  plot.layout.annotations?.forEach((note, index) => {
    const change = words[note.name];
    if (!change || note.visible === false) return;
    const style = full.annotations[index];
    if (!own.has(note)) {
      const node = plot.querySelector(`.annotation[data-index="${index}"]`);
      own.set(note, { node, shift: shift(plot, note, node, style) });
      if (node) node.style.visibility = "hidden";
    }
    const text = change.text ? change.text[i] : style.opacity > 0 ? note.text : null;
    // A phone has the words of cuts in a list, where they do not move.
    const x = note.xref !== "paper" && change.x ? change.x[i] : note.x;
    const y = note.yref !== "paper" && change.y ? change.y[i] : note.y;
    if (text === null || x === null || y === null) return;
    const place = noted(plot, note, x, y), off = own.get(note).shift;
    write(plot, text, { x: place.x + off.x, y: place.y + off.y }, {
      xanchor: style.xanchor, yanchor: style.yanchor, size: style.font.size,
      color: style.font.color, ground: note.bgcolor ? style.bgcolor : undefined, pad: 0,
    });
  });
}

const hidden = new Map(); // of a plot: its notes, Plotly's node of each, and how far off it stands

// Sentences and numbers of the page: copies in their places, so that Streamlit's own stay untouched.

function say(selector, html) {
  const own = document.querySelector(selector);
  if (!own) return;
  let copy = own.nextElementSibling;
  if (!copy?.classList.contains("live-copy")) {
    copy = own.cloneNode(true);
    copy.classList.add("live-copy");
    own.after(copy);
    own.style.display = "none";
  }
  if (copy.liveText === html) return;
  copy.liveText = html;
  let inner = copy;
  while (inner.children.length === 1 && !["P", "H2"].includes(inner.tagName)) {
    inner = inner.firstElementChild;
  }
  const action = inner.querySelector("[data-testid=stHeaderActionElements]");
  inner.innerHTML = html;
  if (action) inner.append(action);
}

function unsay() {
  for (const copy of document.querySelectorAll(".live-copy")) {
    const own = copy.previousElementSibling;
    if (own) own.style.display = "";
    copy.remove();
  }
}

// One α on show, everywhere.

function show(i) {
  for (const [key, { moves, words }] of Object.entries(table.figures)) {
    const plot = figures.get(key)?.querySelector(".plot");
    if (!plot?._fullLayout) continue;
    layer(plot).replaceChildren();
    for (const move of moves) KINDS[move.kind](plot, move, i);
    moveWords(plot, words, i);
  }
  for (const [selector, texts] of Object.entries(table.texts)) say(selector, texts[i]);
  document.body.classList.add("scalescope-live");
  drawn = i;
  furnish();
}

function want(i) {
  i = Math.min(Math.max(i, 0), table.alphas.length - 1);
  if (i === current()) return;
  if (live === null) hold(true);
  live = i;
  follow(i);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (live !== null && live !== drawn) show(live);
  });
}

// The slider's thumb goes along; it is told as a person's key would tell it, and commits nothing.
function follow(i) {
  const slider = thumb();
  if (!slider || slider.disabled || Number(slider.value) === i) return;
  following = true;
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, String(i));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  following = false;
}

const thumb = () => document.querySelector(".st-key-alpha input[type=range]");

function release() {
  if (live === null) return;
  document.body.classList.add("scalescope-asked");
  ask({ alpha: table.alphas[live], at: performance.now() });
}

// What the server shows takes the place of what was drawn here: the sentences at once, each figure
// when its turn has come to be drawn; until then what stands in for it says the same.
function settle() {
  if (live === null) return;
  live = drawn = null;
  cancelAnimationFrame(frame);
  frame = 0;
  unsay();
  document.body.classList.remove("scalescope-live");
  for (const root of figures.values()) root.beforeDrawing = () => live === null && showOwn(root);
  hold(false);
  furnish();
}

// Plotly's own drawing of a figure again, without what stands in for it.
function showOwn(root) {
  const plot = root.querySelector(".plot");
  layer(plot).replaceChildren();
  for (const node of plot.querySelectorAll(".shapelayer path")) node.removeAttribute("transform");
  for (const entry of standIns.get(plot)?.values() ?? []) {
    entry?.node.remove();
    entry?.own?.style.removeProperty("display");
  }
  standIns.delete(plot);
  for (const { node } of hidden.get(plot)?.values() ?? []) node?.style.removeProperty("visibility");
  hidden.delete(plot);
  root.beforeDrawing = null;
}

// Taking hold.

function nearest(value) {
  const { cut } = table;
  let best = 0;
  for (let i = 1; i < cut.length; i++)
    if (Math.abs(cut[i] - value) < Math.abs(cut[best] - value)) best = i;
  return best;
}


// Where the cut lies at present, in px of the hero's plot, and which panel the pointer is in.
function seen(event) {
  const root = figures.get("transfer"), plot = root?.querySelector(".plot");
  if (!plot?._fullLayout?.yaxis3) return null;
  const box = plot.getBoundingClientRect();
  const x = (event.clientX - box.left) / root.scale, y = (event.clientY - box.top) / root.scale;
  const { xaxis, yaxis, yaxis2, xaxis3, yaxis3, xaxis4, yaxis4 } = plot._fullLayout;
  const within = (across, up) =>
    x >= across._offset && x <= across._offset + across._length &&
    y >= up._offset && y <= up._offset + up._length;
  const panel = within(xaxis4, yaxis4) ? "close-up"
    : within(xaxis3, yaxis3) ? "output"
    : within(xaxis, yaxis) ? "curve"
    : within(xaxis, yaxis2) ? "input" : null;
  return { plot, panel, x, y, xaxis, yaxis, xaxis3, yaxis3, yaxis2, xaxis4, yaxis4 };
}

// Which way the cut line can be dragged from here: "y", "x", or not at all.
function grip(event) {
  if (!ready()) return null;
  const at = seen(event);
  if (!at?.panel || at.panel === "close-up") return null;
  const near = NEAR[event.pointerType] ?? NEAR.mouse;
  const cut = live === null ? shown.high : table.cut[live];
  const v = live === null ? shown.v : table.vCut[live];
  const up = at.yaxis3._offset + at.yaxis3.l2p(cut);
  const across = at.xaxis._offset + at.xaxis.l2p(v);
  if (at.panel === "output") {
    const onRuler = (at.x - at.xaxis3._offset) / at.xaxis3._length > shown.ruler;
    return Math.abs(at.y - up) <= (onRuler ? 3 * near : near) ? "y" : null;
  }
  if (at.panel === "input") return Math.abs(at.x - across) <= near ? "x" : null;
  const level = Math.abs(at.y - up) <= near && at.x >= across - near;
  const upright = Math.abs(at.x - across) <= near && at.y >= up - near;
  return level ? "y" : upright ? "x" : null;
}

function drag(event) {
  const at = seen(event);
  if (!at) return;
  if (pressed.way === "y") want(nearest(at.yaxis3.p2l(at.y - pressed.off - at.yaxis3._offset)));
  else want(nearest(silu(at.xaxis.p2l(at.x - pressed.off - at.xaxis._offset))));
}

const onPointer = {
  pointerdown(event) {
    if (event.button !== 0 || event.target.closest?.(".bar")) return;
    const way = grip(event);
    began = way ? null : { x: event.clientX, y: event.clientY, pointer: event.pointerId };
    if (!way) return;
    const at = seen(event);
    const cut = live === null ? shown.high : table.cut[live], v = live === null ? shown.v : table.vCut[live];
    const off = way === "y"
      ? at.y - (at.yaxis3._offset + at.yaxis3.l2p(cut))
      : at.x - (at.xaxis._offset + at.xaxis.l2p(v));
    pressed = { way, off, pointer: event.pointerId, root: figures.get("transfer") };
    try { event.target.setPointerCapture?.(event.pointerId); } catch { /* it may be gone already */ }
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  pointermove(event) {
    if (pressed?.pointer === event.pointerId) {
      drag(event);
      event.stopImmediatePropagation();
    } else if (!event.buttons) {
      const way = grip(event);
      const { classList, probe } = event.currentTarget;
      classList.toggle("grip-y", way === "y");
      classList.toggle("grip-x", way === "x");
      probe?.point(way ? null : pointedAt(event));
    }
  },
  pointerleave(event) {
    if (event.target === event.currentTarget) event.currentTarget.probe?.point(null);
  },
};

// The v that the pointer is at, by the panel that it is in.
function pointedAt(event) {
  const at = seen(event);
  return at?.panel ? figures.get("transfer").probe.at(at.panel, at.x, at.y) : null;
}

// Where a pointer went down that holds no cut line: let go there, it fixes the probe.
let began = null;

function letGo(event) {
  sliderHeld = false;
  if (began?.pointer === event.pointerId && event.type === "pointerup") {
    const moved = Math.hypot(event.clientX - began.x, event.clientY - began.y);
    const v = moved <= STILL && shown ? pointedAt(event) : null;
    if (v !== null) figures.get("transfer").probe.fix(v);
    began = null;
  }
  if (!pressed || event.pointerId !== pressed.pointer) return;
  pressed = null;
  release();
}

// Plotly listens to the mouse and to touches: what holds the cut line is not for it.
const shield = (event) => {
  if (pressed) {
    event.stopImmediatePropagation();
    if (event.cancelable) event.preventDefault();
  }
};

// The cut line as a slider of its own: it can be reached and moved by keys.
function handle() {
  const root = figures.get("transfer"), plot = root?.querySelector(".plot");
  if (!plot?._fullLayout?.yaxis3) return;
  let knob = root.querySelector(".cut-handle");
  if (!knob) {
    knob = document.createElement("div");
    knob.className = "cut-handle";
    knob.setAttribute("role", "slider");
    knob.tabIndex = 0;
    knob.onkeydown = onKey;
    root.append(knob);
  }
  const { xaxis3, yaxis3 } = plot._fullLayout;
  const cut = live === null ? shown.high : table.cut[live];
  const up = (yaxis3._offset + yaxis3.l2p(cut)) * root.scale;
  Object.assign(knob.style, {
    left: `${(xaxis3._offset + shown.ruler * xaxis3._length) * root.scale}px`, top: `${up}px`,
  });
  knob.setAttribute("aria-label", shown.words.handle);
  knob.setAttribute("aria-valuemin", "0");
  knob.setAttribute("aria-valuemax", String(ready() ? table.alphas.length - 1 : 0));
  knob.setAttribute("aria-valuenow", String(current() ?? 0));
  knob.setAttribute("aria-valuetext", live === null ? shown.words.value : `α ${table.names[live]}`);
}

const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

function onKey(event) {
  if (!ready()) return;
  const last = table.alphas.length - 1;
  const from = current() ?? nearest(shown.high);
  const to = { Home: 0, End: last }[event.key] ?? from + (STEPS[event.key] ?? NaN);
  if (Number.isNaN(to)) return;
  event.preventDefault();
  event.stopPropagation();
  want(to);
  clearTimeout(resting);
  resting = setTimeout(release, REST);
}

// The slider under the hand or a key: its thumb says where it is long before it reports it.
let watched = null, observer = null;
let sliderHeld = false; // by a pointer
function watch() {
  const slider = thumb();
  if (slider === watched) return;
  observer?.disconnect();
  watched = slider;
  if (!slider) return;
  observer = new MutationObserver(() => {
    const inHand = slider === document.activeElement || sliderHeld;
    if (!inHand || following || pressed || slider.disabled || !ready()) return;
    const i = table.names.indexOf(slider.getAttribute("aria-valuetext"));
    if (i >= 0) want(i);
  });
  observer.observe(slider, { attributes: true, attributeFilter: ["aria-valuetext", "value"] });
}

function listen() {
  const root = figures.get("transfer");
  if (!root || root.listening) return;
  root.listening = true;
  for (const [name, on] of Object.entries(onPointer)) root.addEventListener(name, on, true);
  for (const name of ["mousedown", "mousemove", "touchstart"]) root.addEventListener(name, shield, true);
}

function furnish() {
  if (!shown) return;
  listen();
  watch();
  handle();
  const root = figures.get("transfer");
  if (!root?.querySelector(".plot")._fullLayout || !line) return;
  root.probe ??= new Probe(root, putInLink);
  root.probe.line = line;
  root.probe.over(answer(), shown);
}

export function begin(figure) {
  if (figures) return;
  ({ figures, hold, putInLink } = figure);
  figure.onDrawn.add((key) => key === "transfer" && furnish());
  window.addEventListener("pointerdown", (event) => {
    sliderHeld = Boolean(event.target.closest?.(".st-key-alpha"));
  }, true);
  window.addEventListener("pointerup", letGo, true);
  window.addEventListener("pointercancel", letGo, true);
}

// The table of answers.
export function follows(answers, report) {
  table = answers;
  ask = report;
  if (!ready()) settle();
  furnish();
}

// What the server's figures show: the α that was asked for, or another choice altogether.
export function arrived(data, element) {
  shown = data;
  line = element;
  if (!ready() || (shown.chosen === live && !pressed)) settle();
  furnish();
}

// The kernel has run with what is on show.
export function confirmed() {
  document.body.classList.remove("scalescope-asked");
}

// The page has gone.
export function stop() {
  observer?.disconnect();
  clearTimeout(resting);
  settle();
  document.body.classList.remove("scalescope-asked", "scalescope-live");
  table = shown = pressed = watched = observer = null;
}

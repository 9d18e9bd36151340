// Explore under the hand: a cut line is dragged, and every figure, number and sentence follows.
//
// Python has answered for every α of the axis (dashboard/figures/moving.py). Here the answer for one
// α is shown: outlines of Plotly's own drawings are redrawn in place, words are moved, and once the
// hand lets go the server is asked, whose figures and numbers then stand in place of these.

import { figures, hold } from "./figure.js";

const NEAR = { mouse: 9, pen: 14, touch: 26 }; // px from a cut line within which it is taken hold of
const REST = 400; // ms after the last key until the server is asked

let state = null; // what the page on show is about
let frame = 0; // the animation frame that is asked for
let pressed = null; // the pointer that holds the cut line, and where
let resting = 0; // the timer after a key

// Numbers of the browser are float64; the kernel divides and rounds in float32.
const silu = (v) => v / (1 + Math.exp(-Math.min(Math.max(v, -700), 700)));

export function code(y, scale, zero) {
  const quotient = Math.fround(Math.fround(y) / Math.fround(scale));
  const whole = Math.sign(quotient) * Math.floor(Math.abs(quotient) + 0.5);
  return Math.min(Math.max(whole + zero, -128), 127);
}

// Drawing: what Plotly has drawn, changed in place.

const axes = (plot, trace) => [
  plot._fullLayout[trace.xaxis.replace("x", "xaxis")],
  plot._fullLayout[trace.yaxis.replace("y", "yaxis")],
];

function traceOf(plot, name, nth = 0) {
  const found = plot._fullData.filter((trace) => trace.name === name);
  const trace = found[nth];
  return trace && { trace, node: plot.querySelector(`.trace${trace.uid}`) };
}

// Points as a path; null parts it.
function path(plot, trace, x, y, closed) {
  const [across, up] = axes(plot, trace);
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
  const found = traceOf(plot, name, nth);
  if (!found?.node) return;
  const { trace, node } = found;
  if (trace.mode === "markers") {
    const [across, up] = axes(plot, trace);
    const place = `translate(${across.l2p(x[0])},${up.l2p(y[0])})`;
    node.querySelector(".point")?.setAttribute("transform", place);
    return;
  }
  const filled = trace.fill === "toself";
  const shape = node.querySelector(filled ? ".js-fill" : ".js-line");
  shape?.setAttribute("d", path(plot, trace, x, y, filled) || "M0,0");
}

// A histogram's outline over some stretches of its axis, as transfer.py has it.
function outline(part, stretches) {
  const [first, last] = part.edges, n = part.heights.length, wide = (last - first) / n;
  const at = [], tall = [];
  for (const [low, high] of stretches) {
    const from = Math.max(low ?? -Infinity, first), to = Math.min(high ?? Infinity, last);
    if (!(from < to)) continue;
    at.push(from);
    tall.push(part.foot);
    const begin = Math.max(0, Math.floor((from - first) / wide - 1e-9));
    for (let i = begin; i < n && first + i * wide < to; i++) {
      at.push(Math.max(first + i * wide, from), Math.min(first + (i + 1) * wide, to));
      tall.push(part.heights[i], part.heights[i]);
    }
    at.push(to, null);
    tall.push(part.foot, null);
  }
  return [at, tall];
}

const KINDS = {
  split(plot, move, i) {
    move.traces.forEach((name, side) => {
      let at = [], tall = [];
      for (const part of move.parts) {
        const cut = part.cut?.[i];
        const stretches = part.cut
          ? [side ? [cut, null] : [null, cut]]
          : part.stretches[side][i];
        const [more, higher] = outline(part, stretches);
        at = at.concat(more);
        tall = tall.concat(higher);
      }
      if (move.upright) draw(plot, name, at, tall);
      else draw(plot, name, tall, at);
    });
  },
  points(plot, move, i) {
    const { x, y } = move.points[i];
    const known = traceOf(plot, move.trace, move.nth);
    draw(plot, move.trace, x ?? known?.trace.x, y ?? known?.trace.y, move.nth);
  },
  clamp(plot, move, i) {
    const { trace } = traceOf(plot, move.trace) ?? {};
    if (!trace) return;
    const y = Array.from(trace.x, (v) => Math.min(Math.max(silu(v), move.low[i]), move.high[i]));
    draw(plot, move.trace, trace.x, y);
  },
  wedge(plot, move, i) {
    const from = move.from[i], to = Math.max(move.to, from);
    const v = Array.from({ length: 40 }, (_, k) => from + ((to - from) * k) / 39);
    draw(plot, move.line, v, v.map(silu));
    draw(plot, move.area, [...v, to], [...v.map(silu), move.high[i]]);
  },
  stairs(plot, move, i) {
    const { trace } = traceOf(plot, move.trace) ?? {};
    if (!trace) return;
    const { [i]: scale } = move.scale, { [i]: zero } = move.zero;
    const y = Array.from(trace.x, (v) => (code(silu(v), scale, zero) - zero) * scale);
    draw(plot, move.trace, trace.x, y);
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
    const found = traceOf(plot, move.trace);
    const bar = found?.node?.querySelectorAll(".point path")[move.bar];
    if (!bar) return;
    const [across, up] = axes(plot, found.trace);
    const middle = found.trace.y[move.bar], half = found.trace.width / 2;
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
    const found = traceOf(plot, move.trace);
    if (!found) return;
    if (found.node) found.node.style.display = "none";
    const [across, up] = axes(plot, found.trace);
    const { size, color } = found.trace.textfont;
    const { x, y, text } = move.texts[i];
    text.forEach((words, k) => {
      const place = { x: across._offset + across.l2p(x[k]), y: up._offset + up.l2p(y[k]) };
      const [vertical, horizontal] = String(found.trace.textposition).split(" ");
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

function moveWords(plot, words, i) {
  const full = plot._fullLayout, size = full._size;
  plot.layout.annotations?.forEach((note, index) => {
    const change = words[note.name];
    if (!change || note.visible === false) return;
    const node = plot.querySelector(`.annotation[data-index="${index}"]`);
    if (node) node.style.visibility = "hidden";
    const text = change.text ? change.text[i] : note.text;
    // A phone has the words of cuts in a list, where they do not move.
    const x = note.xref !== "paper" && change.x ? change.x[i] : note.x;
    const y = note.yref !== "paper" && change.y ? change.y[i] : note.y;
    if (text === null || x === null || y === null) return;
    const place = {
      x: (placed(plot, note.xref, x) ?? size.l + x * size.w) + (note.xshift ?? 0),
      y: (placed(plot, note.yref, y) ?? size.t + (1 - y) * size.h) - (note.yshift ?? 0),
    };
    const { xanchor, yanchor, font, bgcolor } = full.annotations[index];
    const bold = note.text.startsWith("<b>") && !text.startsWith("<b>");
    write(plot, bold ? `<b>${text}</b>` : text, place, {
      xanchor, yanchor, size: font.size, color: font.color,
      ground: note.bgcolor ? bgcolor : undefined,
    });
  });
}

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
  inner.innerHTML = html;
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
  state.live = i;
  for (const [key, { moves, words }] of Object.entries(state.figures)) {
    const plot = figures.get(key)?.querySelector(".plot");
    if (!plot?._fullLayout) continue;
    layer(plot).replaceChildren();
    for (const move of moves) KINDS[move.kind](plot, move, i);
    moveWords(plot, words, i);
  }
  for (const [selector, texts] of Object.entries(state.texts)) say(selector, texts[i]);
  document.body.classList.add("scalescope-live");
  handle();
  state.shown = i;
}

function want(i) {
  i = Math.min(Math.max(i, 0), state.alphas.length - 1);
  if (state.live === null) hold(true);
  if (i === state.live) return;
  state.live = i;
  follow(i);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (state?.live !== null && state.live !== state.shown) show(state.live);
  });
}

// The slider's thumb goes along; it is told as a person's key would tell it, and commits nothing.
function follow(i) {
  const slider = thumb();
  if (!slider || slider.disabled || Number(slider.value) === i) return;
  state.following = true;
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, String(i));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  state.following = false;
}

const thumb = () => document.querySelector(".st-key-alpha input[type=range]");

function release() {
  const i = state.live;
  if (i === null) return;
  state.asked = i;
  document.body.classList.add("scalescope-asked");
  state.ask({ alpha: state.alphas[i], at: performance.now() });
}

// The server's figures for the α that is on show, or for another thing altogether, are there.
function settle() {
  if (state.live !== null) {
    for (const key of Object.keys(state.figures)) {
      const plot = figures.get(key)?.querySelector(".plot");
      if (plot?.parentElement) layer(plot).replaceChildren();
      for (const node of plot?.querySelectorAll(".annotation") ?? []) node.style.visibility = "";
      for (const trace of plot?._fullData ?? [])
        plot.querySelector(`.trace${trace.uid}`)?.style.removeProperty("display");
      for (const node of plot?.querySelectorAll(".shapelayer path") ?? [])
        node.removeAttribute("transform");
    }
    // Drawn in place, Plotly does not know it: each figure is drawn again, as the server has it.
    hold(false, Object.keys(state.figures));
  }
  unsay();
  document.body.classList.remove("scalescope-live");
  state.live = state.shown = state.asked = null;
  handle();
}

// Taking hold.

function nearest(value) {
  const { cut } = state;
  let best = 0;
  for (let i = 1; i < cut.length; i++)
    if (Math.abs(cut[i] - value) < Math.abs(cut[best] - value)) best = i;
  return best;
}

const current = () => state.live ?? state.chosen;

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
  if (!state?.ready) return null;
  const at = seen(event);
  if (!at?.panel || at.panel === "close-up") return null;
  const near = NEAR[event.pointerType] ?? NEAR.mouse;
  const i = current();
  const cut = i === null ? state.high : state.cut[i];
  const v = i === null ? state.v : state.vCut[i];
  const up = at.yaxis3._offset + at.yaxis3.l2p(cut);
  const across = at.xaxis._offset + at.xaxis.l2p(v);
  if (at.panel === "output") {
    const onRuler = (at.x - at.xaxis3._offset) / at.xaxis3._length > state.ruler;
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
    if (!way) return;
    const at = seen(event), i = current();
    const cut = i === null ? state.high : state.cut[i], v = i === null ? state.v : state.vCut[i];
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
      const { classList } = event.currentTarget;
      classList.toggle("grip-y", way === "y");
      classList.toggle("grip-x", way === "x");
    }
  },
};

function letGo(event) {
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
  if (!plot?._fullLayout?.yaxis3 || !state) return;
  let knob = root.querySelector(".cut-handle");
  if (!knob) {
    knob = document.createElement("div");
    knob.className = "cut-handle";
    knob.setAttribute("role", "slider");
    knob.tabIndex = 0;
    knob.onkeydown = onKey;
    root.append(knob);
  }
  const i = current(), { xaxis3, yaxis3 } = plot._fullLayout;
  const cut = i === null ? state.high : state.cut[i];
  const up = (yaxis3._offset + yaxis3.l2p(cut)) * root.scale;
  Object.assign(knob.style, {
    left: `${(xaxis3._offset + state.ruler * xaxis3._length) * root.scale}px`, top: `${up}px`,
  });
  knob.setAttribute("aria-label", state.words.handle);
  knob.setAttribute("aria-valuemin", "0");
  knob.setAttribute("aria-valuemax", String(state.alphas.length - 1));
  knob.setAttribute("aria-valuenow", String(i ?? 0));
  knob.setAttribute("aria-valuetext", i === null ? state.words.rule : `α ${state.names[i]}`);
}

const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

function onKey(event) {
  const last = state.alphas.length - 1;
  const from = current() ?? nearest(state.high);
  const to = { Home: 0, End: last }[event.key] ?? from + (STEPS[event.key] ?? NaN);
  if (Number.isNaN(to)) return;
  event.preventDefault();
  event.stopPropagation();
  want(to);
  clearTimeout(resting);
  resting = setTimeout(release, REST);
}

// The slider under the hand or a key: its thumb says where it is long before it reports it.
function watch() {
  const slider = thumb();
  if (!slider || slider === state.watched) return;
  state.observer?.disconnect();
  state.watched = slider;
  state.observer = new MutationObserver(() => {
    if (state.following || pressed || slider.disabled) return;
    const i = state.names.indexOf(slider.getAttribute("aria-valuetext"));
    if (i >= 0 && i !== current()) want(i);
  });
  state.observer.observe(slider, { attributes: true, attributeFilter: ["aria-valuetext", "value"] });
}

function listen() {
  const root = figures.get("transfer");
  if (!root || root.listening) return;
  root.listening = true;
  for (const [name, on] of Object.entries(onPointer)) root.addEventListener(name, on, true);
  for (const name of ["mousedown", "touchstart"]) root.addEventListener(name, shield, true);
  window.addEventListener("pointerup", letGo, true);
  window.addEventListener("pointercancel", letGo, true);
}

// The table of answers: what ``show`` needs for every α of what is on show.
export function follows(data, ask) {
  const { live = null, shown = null, asked = null, observer, watched } = state ?? {};
  const same = state?.subject === data.subject;
  if (!same && live !== null) settle();
  const kept = same ? { live, shown, asked } : { live: null, shown: null, asked: null };
  state = { ...data, ...latest, ask, observer, watched, ...kept };
  listen();
  watch();
  handle();
}

// What the server shows now: the α that was asked for, or another choice.
let latest = {};

export function arrived(data) {
  latest = data;
  if (!state) return hold(false);
  const { subject } = state;
  Object.assign(state, data, { subject });
  state.ready = data.subject === subject;
  if (state.live === null || !state.ready) return settle();
  if (data.chosen === state.live && !pressed) settle();
}

// The kernel has run with what is on show.
export function confirmed() {
  document.body.classList.remove("scalescope-asked");
}

export function stop() {
  if (!state) return;
  state.observer?.disconnect();
  cancelAnimationFrame(frame);
  frame = 0;
  pressed = null;
  clearTimeout(resting);
  if (state.live !== null) settle();
  document.body.classList.remove("scalescope-asked", "scalescope-live");
  hold(false);
  unsay();
  state = null;
}

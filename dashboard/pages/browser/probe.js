// The probe: a value's whole way, from SiLU's input to its code and back, wherever it is pointed at.
//
// It lies over the transfer figure and follows the pointer; a click leaves it where it is, another or
// Escape takes it away, and arrow keys move it. What it says is worked out here as the kernel works
// it out, with the scale and the counts that the figure shows.

import { code, preimage, silu } from "./silu.js";

const SVG = "http://www.w3.org/2000/svg";
const LINK = "probe";
const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };

// A number as the page writes it: four digits, a true minus sign.
function written(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-4 && size < 1e6
    ? size.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size))))
    : size.toExponential(digits - 1).replace("e+", "e");
  return (value < 0 ? "−" : "") + text.replace("e-", "e−");
}

// Everything about one v under a scale; counts are of the codes −128 … 127.
function way(v, { scale, zero, counts }) {
  const y = silu(v);
  const q = code(y, scale, zero);
  const back = (q - zero) * scale;
  return {
    v, y, quotient: y / scale, code: q, back, error: back - y,
    sharing: counts[q + 128], clipped: y / scale >= 127.5 - zero,
  };
}

export class Probe {
  constructor(root, putInLink) {
    this.root = root;
    this.putInLink = putInLink;
    this.v = this.fixed = null;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "probe");
    this.svg.setAttribute("aria-hidden", "true");
    this.line = null; // where its words stand
    this.knob = document.createElement("div");
    this.knob.className = "probe-handle";
    this.knob.setAttribute("role", "slider");
    this.knob.tabIndex = 0;
    this.knob.onkeydown = (event) => this.press(event);
    root.append(this.svg, this.knob);
    const linked = Number(new URLSearchParams(location.search).get(LINK) ?? NaN);
    if (Number.isFinite(linked)) this.v = this.fixed = linked;
  }

  // What the figure shows now.
  over(answer, { words, ruler }) {
    Object.assign(this, { answer, words, ruler });
    this.knob.setAttribute("aria-label", words.probe);
    this.link();
    this.draw();
  }

  get axes() {
    const full = this.root.querySelector(".plot")._fullLayout;
    return full?.yaxis3 && {
      v: full.xaxis, y: full.yaxis, input: full.yaxis2, side: full.xaxis3, out: full.yaxis3,
      closeV: full.xaxis4, closeY: full.yaxis4,
    };
  }

  // v for a place in the figure, in px of the plot; null where there is none.
  at(panel, x, y) {
    const { v, out, closeV } = this.axes;
    if (panel === "close-up") return closeV.p2l(x - closeV._offset);
    if (panel === "curve" || panel === "input") return v.p2l(x - v._offset);
    return panel === "output" ? preimage(out.p2l(y - out._offset)) : null;
  }

  point(v) {
    const to = v ?? this.fixed;
    if (to === this.v) return;
    this.v = to;
    this.draw();
  }

  fix(v) {
    this.fixed = this.fixed === null ? v : null;
    this.v = v;
    this.link();
    this.draw();
  }

  // The server, which does not know of it, writes its own link now and then.
  link() {
    this.putInLink(LINK, this.fixed === null ? "" : String(Number(this.fixed.toPrecision(5))));
  }

  press(event) {
    if (event.key === "Escape" && this.v !== null) {
      this.fixed = null;
      this.link();
      this.point(null);
      return event.stopPropagation();
    }
    const [low, high] = this.axes.v.range;
    const step = STEPS[event.key];
    const to = { Home: low, End: high }[event.key] ?? (step && (this.v ?? 0) + (step * (high - low)) / 200);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.fixed = null;
    this.fix(Math.min(Math.max(to, low), high));
  }

  draw() {
    const { axes, v, words } = this;
    if (!axes || !this.answer) return;
    const plot = this.root.querySelector(".plot"), { width, height } = plot._fullLayout;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    Object.assign(this.svg.style, {
      width: `${width * this.root.scale}px`, height: `${height * this.root.scale}px`,
    });
    this.svg.replaceChildren();
    const px = (axis, value) => axis._offset + axis.l2p(value);
    Object.assign(this.knob.style, {
      left: `${px(axes.v, Math.min(Math.max(v ?? 0, axes.v.range[0]), axes.v.range[1])) * this.root.scale}px`,
      top: `${(axes.y._offset + axes.y._length) * this.root.scale}px`,
    });
    this.knob.classList.toggle("fixed", this.fixed !== null);
    if (v === null) {
      this.line.textContent = words.idle;
      this.knob.setAttribute("aria-valuetext", words.idle);
      return;
    }
    const w = way(v, this.answer);
    this.say(w);
    const add = (name, attributes) => {
      const node = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      this.svg.append(node);
    };
    const inside = (axis, value) => value >= Math.min(...axis.range) && value <= Math.max(...axis.range);
    const line = (kind, x0, y0, x1, y1) => add("path", { class: kind, d: `M${x0},${y0}L${x1},${y1}` });
    const dot = (x, y) => add("circle", { cx: x, cy: y, r: 4 });
    const x = px(axes.v, v);
    const right = axes.side._offset + this.ruler * axes.side._length;
    const [up, home] = [w.y, w.back].map((y) => px(axes.out, y));
    // The values that share the code, as a band over the output histogram.
    const half = this.answer.scale / 2;
    const [top, bottom] = [w.back + half, w.back - half].map((y) => px(axes.out, y));
    const left = axes.side._offset;
    if (inside(axes.out, w.back)) {
      const tall = Math.max(bottom - top, 1.5);
      add("rect", { class: "band", x: left, y: (top + bottom - tall) / 2, width: right - left, height: tall });
      dot(right, home);
    }
    if (inside(axes.v, v)) {
      line("way-line", x, axes.input._offset + axes.input._length, x, axes.input._offset);
      if (inside(axes.y, w.y)) {
        line("way-line", x, axes.y._offset + axes.y._length, x, up);
        line("way-line", x, up, right, up);
        dot(x, up);
        if (Math.abs(home - up) > 3) line("way-line error", right, up, right, home);
      }
    }
    if (inside(axes.closeV, v) && inside(axes.closeY, w.back)) dot(px(axes.closeV, v), px(axes.closeY, w.back));
  }

  say(w) {
    const { words } = this;
    const text = (w.clipped ? words.clipped : words.way).replace(/\{(\w+)\}/g, (_, name) => ({
      v: written(w.v), y: written(w.y), quotient: written(w.quotient), back: written(w.back),
      error: (w.error > 0 ? "+" : "") + written(w.error, 3),
      code: String(w.code).replace("-", "−"), sharing: w.sharing.toLocaleString("en-US"),
    })[name]);
    this.line.innerHTML = text; // a template made by Python, numbers made here
    this.knob.setAttribute("aria-valuetext", this.line.textContent);
    this.knob.setAttribute("aria-valuenow", String(w.v));
    this.knob.setAttribute("aria-valuemin", String(this.axes.v.range[0]));
    this.knob.setAttribute("aria-valuemax", String(this.axes.v.range[1]));
  }
}

// Paints a Sheet (dashboard/figures/style.py) as SVG: shares of the width and height become pixels.

const NEAR = 44; // px from the pointer within which a point tells what it is
const LINE = 1.28; // height of a line of text, in font sizes
const MARGIN = 28; // px left free under a picture in a room
const PIXELS = 2; // of a saved PNG, to one of the page

const escaped = (text) =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function path(shape, width, height) {
  let d = "";
  for (let i = 0; i < shape.x.length; i++) {
    const x = (shape.x[i] * width).toFixed(2);
    const y = ((1 - shape.y[i]) * height).toFixed(2);
    d += `${i ? "L" : "M"}${x} ${y}`;
  }
  return d;
}

function area(shape, width, height) {
  if (!shape.x.length) return "";
  const fill = shape.hatched
    ? `fill="url(#hatch-${shape.colour})"`
    : `fill="var(--${shape.colour})" fill-opacity="${shape.opacity}"`;
  return `<path d="${path(shape, width, height)}Z" ${fill}/>`;
}

function line(shape, width, height) {
  return (
    `<path d="${path(shape, width, height)}" fill="none" stroke="var(--${shape.colour})" ` +
    `stroke-width="${shape.width}" stroke-dasharray="${shape.dash ?? ""}" ` +
    `stroke-linecap="${shape.dash ? "butt" : "round"}"/>`
  );
}

// The side on which a label stands, as SVG's anchor, which is the side that it holds on to.
const ANCHOR = { left: "end", center: "middle", right: "start" };

function label(item, width, height) {
  const lines = item.text.split("\n");
  const step = LINE * item.size;
  const first = {
    top: -(lines.length - 1) * step - 0.3 * item.size,
    middle: (-(lines.length - 1) / 2) * step + 0.35 * item.size,
    bottom: 0.95 * item.size,
  }[item.vertical];
  const x = (item.x[0] * width).toFixed(2);
  const y = (1 - item.y[0]) * height + first;
  const spans = lines.map(
    (text, i) => `<tspan x="${x}" y="${(y + i * step).toFixed(2)}">${escaped(text)}</tspan>`,
  );
  return (
    `<text text-anchor="${ANCHOR[item.horizontal]}" font-size="${item.size}" ` +
    `font-weight="${item.bold ? 650 : 400}" fill="var(--${item.colour})" ` +
    `stroke="${item.halo ? `var(--${item.halo})` : "none"}">${spans.join("")}</text>`
  );
}

function band(pick, width, height) {
  const [left, right] = pick.x.map((share) => share * width);
  const [bottom, top] = pick.y.map((share) => (1 - share) * height);
  const stop = pick.by_key ? `tabindex="0" role="button" aria-label="${escaped(pick.label)}"` : "";
  return (
    `<rect class="pick" x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" ` +
    `${stop} data-value="${pick.value}"/>`
  );
}

function hatches(areas) {
  const colours = new Set(areas.filter((shape) => shape.hatched).map((shape) => shape.colour));
  return [...colours].map(
    (colour) =>
      `<pattern id="hatch-${colour}" width="8" height="8" patternUnits="userSpaceOnUse" ` +
      `patternTransform="rotate(45)"><path d="M0 0V8" stroke="var(--${colour})" ` +
      `stroke-opacity="0.6" stroke-width="2.4"/></pattern>`,
  );
}

// In a room a picture is as large as its frame allows, down to its own size: seen at one glance.
function fitting(root) {
  const { zoom, height } = root.sheet.data;
  if (zoom <= 1) return zoom;
  const top = root.getBoundingClientRect().top + (root.closest("main")?.scrollTop ?? 0);
  return Math.min(zoom, Math.max(1, (innerHeight - Math.max(top, 0) - MARGIN) / height));
}

function paint(root) {
  const { data } = root.sheet;
  const { height } = data;
  const zoom = root.sheet.zoom = fitting(root);
  const width = root.clientWidth / zoom;
  if (!width) return;
  const draw = (kind, items) => items.map((item) => kind(item, width, height)).join("");
  root.style.height = `${height * zoom}px`;
  root.querySelector(".paper").innerHTML =
    `<svg width="${width * zoom}" height="${height * zoom}" viewBox="0 0 ${width} ${height}" ` +
    `role="img" aria-label="${escaped(data.alt)}">` +
    `<defs>${hatches(data.areas).join("")}</defs>` +
    draw(area, data.areas) +
    draw(line, data.lines) +
    draw(label, data.texts) +
    draw(band, data.picks) +
    "</svg>";
}

// The drawing as a file of its own: colours in place of the page's variables, on a ground.
function standalone(root) {
  const svg = root.querySelector("svg").cloneNode(true);
  const style = getComputedStyle(root);
  svg.querySelectorAll(".pick").forEach((pick) => pick.remove());
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("font-family", style.fontFamily);
  const rules = "text{paint-order:stroke;stroke-linejoin:round;stroke-width:7px}";
  const ground = `<style>${rules}</style><rect width="100%" height="100%" fill="var(--page)"/>`;
  svg.innerHTML = ground + svg.innerHTML;
  return new XMLSerializer()
    .serializeToString(svg)
    .replace(/var\(--([\w-]+)\)/g, (_, name) => style.getPropertyValue(`--${name}`).trim());
}

function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function save(root, kind) {
  const text = standalone(root);
  const name = `scalescope-${root.sheet.data.name}.${kind}`;
  if (kind === "svg") return hand(new Blob([text], { type: "image/svg+xml" }), name);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * PIXELS;
  canvas.height = image.height * PIXELS;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => hand(blob, name), "image/png");
}

// A menu in the corner: made once, so that it stays open while the drawing changes.
function furnish(root) {
  root.innerHTML =
    `<div class="paper"></div><details class="save"><summary>⤓</summary><div>` +
    `<button data-save="png">PNG</button><button data-save="svg">SVG</button></div></details>`;
  const menu = root.querySelector(".save");
  menu.onclick = (event) => {
    const kind = event.target.dataset.save;
    if (!kind) return;
    save(root, kind);
    menu.open = false;
    menu.querySelector("summary").focus();
  };
  menu.onkeydown = (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  };
}

// The point nearest to the pointer, if one is near, told in a box beside it.
function tell(root, event) {
  root.querySelector(".told")?.remove();
  const { data } = root.sheet;
  if (event.target.closest?.(".save")) return;
  const frame = root.getBoundingClientRect();
  let nearest = null;
  let distance = NEAR;
  for (const point of data.hovers) {
    const [low, high] = point.x.map((share) => share * frame.width);
    const x = Math.min(Math.max(event.clientX - frame.left, low), high);
    const y = (1 - point.y[0]) * data.height * root.sheet.zoom;
    const away = Math.hypot(event.clientX - frame.left - x, event.clientY - frame.top - y);
    if (away < distance) [nearest, distance] = [{ x, y, text: point.text }, away];
  }
  if (!nearest) return;
  const box = document.createElement("div");
  box.className = "told";
  box.textContent = nearest.text;
  root.append(box);
  const left = Math.min(nearest.x + 12, frame.width - box.offsetWidth);
  box.style.left = `${Math.max(0, left)}px`;
  box.style.top = `${Math.max(0, nearest.y - box.offsetHeight - 8)}px`;
}

function isDark(root) {
  const colour = getComputedStyle(root).getPropertyValue("--st-background-color").trim();
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return red + green + blue < 384;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".sheet");
  const known = root.sheet !== undefined;
  root.sheet = { data };
  if (!known) furnish(root);
  const opener = root.querySelector("summary");
  opener.title = data.save;
  opener.setAttribute("aria-label", data.save);
  root.className = `sheet ${isDark(root) ? "dark" : "light"}`;
  paint(root);

  const pick = (event) => {
    const value = event.target.dataset?.value;
    if (value === undefined) return;
    root.querySelector(".told")?.remove(); // what was told of may lie elsewhere in a moment
    setTriggerValue("picked", Number(value));
  };
  root.onclick = pick;
  root.onkeydown = (event) => {
    if (event.key === "Enter" || event.key === " ") pick(event);
  };
  root.onpointermove = (event) => tell(root, event);
  root.onpointerleave = () => root.querySelector(".told")?.remove();
  if (!known) {
    root.observer = new ResizeObserver(() => {
      if (root.querySelector("svg")?.clientWidth !== root.clientWidth) paint(root);
    });
    root.observer.observe(root);
  }
  return () => root.observer.disconnect();
}

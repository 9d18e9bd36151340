// A text of which each piece tells its damage: under the pointer, and by the arrow keys.
//
// All words come ready from the server and are entered as text, never as markup.

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function shaded(node, shade) {
  node.style.setProperty("--shade", `${Math.round(100 * shade)}%`);
  return node;
}

function choices(columns, rows) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const name of columns) head.append(element("th", { scope: "col" }, name));
  const body = table.createTBody();
  for (const [token, before, after, here] of rows) {
    const row = body.insertRow();
    if (here) row.className = "here";
    row.append(element("th", { scope: "row" }, token));
    for (const share of [before, after]) row.insertCell().textContent = share;
  }
  return table;
}

export function show(root, data) {
  const [text, details, legend] = [".text", ".details", ".legend"].map((at) =>
    root.querySelector(at),
  );
  const shown = JSON.stringify(data);
  if (root.shown === shown) return;
  root.shown = shown;
  text.setAttribute("aria-label", data.alt);
  text.replaceChildren(
    ...data.pieces.map((piece, i) => {
      const node = shaded(element("span", { "data-i": i }, piece.text), piece.shade);
      if (piece.changed) node.classList.add("changed");
      return node;
    }),
  );
  legend.replaceChildren(
    ...data.legend.map(({ shade, text: words }) => shaded(element("span", {}, words), shade)),
    element("i", {}, data.unit),
  );
  details.replaceChildren(element("p", {}, data.hint));
  let current = -1;

  function choose(i) {
    const piece = data.pieces[i];
    if (!piece || i === current) return;
    text.children[current]?.classList.remove("current");
    current = i;
    text.children[i].classList.add("current");
    details.replaceChildren(element("p", {}, piece.head));
    if (piece.choices.length) details.append(choices(data.columns, piece.choices));
  }

  text.onpointerover = text.onclick = (event) => {
    const at = event.target.closest("[data-i]");
    if (at) choose(Number(at.dataset.i));
  };
  text.onkeydown = (event) => {
    const moves = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10 };
    const last = data.pieces.length - 1;
    let next = { Home: 0, End: last }[event.key];
    if (event.key in moves) next = Math.min(Math.max(current + moves[event.key], 0), last);
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(next);
    text.children[next].scrollIntoView({ block: "nearest" });
  };
}

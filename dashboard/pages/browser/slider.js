// A slider that answers while it is dragged.
//
// While a hand moves the thumb, its value is the browser's. Each value that the hand comes by is sent
// as soon as the server has answered the one before: as many answers as the server can give, never a
// queue of them, and the last one always. At rest the value is the server's: a link, another control
// or an undone step may have changed it.

const PATIENCE = 3000; // ms without an answer until the next value is sent all the same

export function slide(root, { data, setTriggerValue }) {
  const input = root.querySelector("input"), output = root.querySelector("output");
  const last = data.texts.length - 1;
  Object.assign(root, { shown: data, send: setTriggerValue });
  root.querySelector("label").textContent = data.label;
  Object.assign(input, { max: last, disabled: !last });
  input.setAttribute("aria-label", data.label);
  if (data.moves >= (root.moves ?? 0)) { // the server has answered all that was sent
    root.busy = false;
    if (root.wanted === undefined || root.wanted === data.index) {
      delete root.wanted;
      input.value = data.index;
    } else ask();
  }
  show();
  if (root.heard) return;
  root.heard = true;
  input.addEventListener("input", () => {
    root.wanted = Number(input.value);
    show();
    ask();
  });
  // The page's own: a presenter turns pages with them.
  input.addEventListener("keydown", (event) => {
    if (["PageUp", "PageDown"].includes(event.key)) event.preventDefault();
  });

  function show() {
    const index = Number(input.value), share = index / Math.max(last, 1);
    const { texts } = root.shown;
    input.setAttribute("aria-valuetext", texts[index]);
    output.textContent = texts[index];
    root.style.setProperty("--share", share);
  }

  function ask() {
    if (root.busy) return;
    root.busy = true;
    root.moves = (root.moves ?? root.shown.moves) + 1;
    root.send("moved", { index: root.wanted, moves: root.moves });
    clearTimeout(root.patience);
    root.patience = setTimeout(() => {
      if (!root.busy) return;
      root.busy = false;
      if (root.wanted !== undefined && root.wanted !== root.shown.index) ask();
    }, PATIENCE);
  }
}

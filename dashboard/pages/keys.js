// A presenter's keys: next, previous, leave; up and down scroll. Draws nothing.

const MOVES = {
  ArrowRight: "next", PageDown: "next",
  ArrowLeft: "previous", PageUp: "previous",
  Escape: "leave",
};

const SCROLLS = { ArrowDown: 0.6, ArrowUp: -0.6 }; // of the window's height

const main = () => document.querySelector("[data-testid=stMain]");

// Whether the element with the focus has a use of its own for a key.
function uses(element, key) {
  if (!element?.closest) return false;
  const input = element.closest("input");
  const writes = input && !["checkbox", "radio", "range"].includes(input.type);
  if (writes || element.closest("textarea, [role=combobox]")) return true;
  if (element.closest("[role=dialog], [role=listbox], [role=menu]")) return true;
  return key.startsWith("Arrow") &&
    element.closest("[role=slider], [role=radiogroup], [role=tablist], input") !== null;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".keys");
  if (root.dataset.step !== undefined && root.dataset.step !== String(data.step))
    main()?.scrollTo({ top: 0 });
  root.dataset.step = data.step;
  root.presenting = data.present;
  root.press = (move) => setTriggerValue("pressed", move);
  root.listen ??= listening(root);
  return () => {
    document.removeEventListener("keydown", root.listen, true);
    root.listen = undefined;
  };
}

// One listener for as long as the page lasts: each run of it only says whether it is presented.
function listening(root) {
  const listen = (event) => {
    const move = MOVES[event.key];
    const scroll = SCROLLS[event.key];
    if (!root.presenting || !(move || scroll) || event.defaultPrevented) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const path = event.composedPath();
    if (uses(path[0], event.key) || uses(document.activeElement, event.key)) return;
    event.preventDefault();
    if (scroll) return main()?.scrollBy({ top: scroll * innerHeight, behavior: "smooth" });
    if (move === "leave") root.presenting = false; // from the next key on, not from the next run on
    root.press(move);
  };
  document.addEventListener("keydown", listen, true);
  return listen;
}

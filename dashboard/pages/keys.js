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

// One listener and one queue for as long as the browser shows the app: a page's component comes and
// goes. `page` is the one on show, or null between two.
function presenter() {
  if (window.scalescopePresenter) return window.scalescopePresenter;
  const state = { page: null, presenting: false, number: 0, waiting: [] };
  document.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    const scroll = SCROLLS[event.key];
    if (!state.presenting || !(move || scroll) || event.defaultPrevented) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const path = event.composedPath();
    if (uses(path[0], event.key) || uses(document.activeElement, event.key)) return;
    event.preventDefault();
    if (scroll) return main()?.scrollBy({ top: scroll * innerHeight, behavior: "smooth" });
    if (move === "leave") state.presenting = false; // from the next key on, not from the next run on
    state.waiting.push({ move, number: ++state.number });
    state.page?.send(state.waiting[0]); // the next in the queue leaves when this one was taken
  }, true);
  return window.scalescopePresenter = state;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".keys");
  if (root.dataset.step !== undefined && root.dataset.step !== String(data.step))
    main()?.scrollTo({ top: 0 });
  root.dataset.step = data.step;
  const state = presenter();
  state.number = Math.max(state.number, data.presses);
  state.waiting = state.waiting.filter((press) => press.number > data.presses);
  state.presenting = data.present && !state.waiting.some((press) => press.move === "leave");
  root.send = (press) => setTriggerValue("pressed", press);
  state.page = root;
  if (state.waiting.length) root.send(state.waiting[0]);
  return () => {
    if (state.page === root) state.page = null;
  };
}

// A presenter's keys: next, previous, leave. Draws nothing.

const MOVES = {
  ArrowRight: "next", PageDown: "next",
  ArrowLeft: "previous", PageUp: "previous",
  Escape: "leave",
};

// Whether the element with the focus has a use of its own for a key.
function uses(element, key) {
  if (!element?.closest) return false;
  if (element.closest("input:not([type=checkbox]):not([type=radio]), textarea, [role=combobox]"))
    return true;
  if (element.closest("[role=dialog], [role=listbox], [role=menu]")) return true;
  return key.startsWith("Arrow") &&
    element.closest("[role=slider], [role=radiogroup], [role=tablist], input") !== null;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".keys");
  if (root.dataset.step !== undefined && root.dataset.step !== String(data.step))
    document.querySelector("[data-testid=stMain]")?.scrollTo({ top: 0 });
  root.dataset.step = data.step;
  const listen = (event) => {
    const move = MOVES[event.key];
    if (!data.present || !move || event.defaultPrevented) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const path = event.composedPath();
    if (uses(path[0], event.key) || uses(document.activeElement, event.key)) return;
    event.preventDefault();
    setTriggerValue("pressed", move);
  };
  document.addEventListener("keydown", listen, true);
  return () => document.removeEventListener("keydown", listen, true);
}

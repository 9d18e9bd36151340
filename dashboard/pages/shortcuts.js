// A press of "?" shows the keys, another or Escape hides them; Ctrl Z undoes, Ctrl Shift Z redoes.

function writes(element) {
  const box = element?.closest?.("input, textarea, [contenteditable=true]");
  return Boolean(box) && !["range", "checkbox", "radio"].includes(box.type);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const dialog = parentElement.querySelector("dialog");
  dialog.querySelector("h2").textContent = data.title;
  dialog.querySelector("dl").replaceChildren(...data.keys.flatMap(([key, meaning]) => {
    const term = document.createElement("dt"), words = document.createElement("dd");
    [term.textContent, words.textContent] = [key, meaning];
    return [term, words];
  }));
  dialog.change = (name) => setTriggerValue(name, performance.now());
  dialog.listen ??= (event) => {
    const undoes = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z";
    if (undoes && !writes(event.composedPath()[0])) {
      event.preventDefault();
      return dialog.change(event.shiftKey ? "redo" : "undo");
    }
    if (event.key !== "?" || event.ctrlKey || event.altKey || event.metaKey) return;
    if (writes(event.composedPath()[0])) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else dialog.showModal();
  };
  document.addEventListener("keydown", dialog.listen);
  return () => document.removeEventListener("keydown", dialog.listen);
}

// A press of "?" shows the keys, another or Escape hides them.

function writes(element) {
  return Boolean(element?.closest?.("input, textarea, [contenteditable=true]"));
}

export default function ({ data, parentElement }) {
  const dialog = parentElement.querySelector("dialog");
  dialog.querySelector("h2").textContent = data.title;
  dialog.querySelector("dl").replaceChildren(...data.keys.flatMap(([key, meaning]) => {
    const term = document.createElement("dt"), words = document.createElement("dd");
    [term.textContent, words.textContent] = [key, meaning];
    return [term, words];
  }));
  dialog.listen ??= (event) => {
    if (event.key !== "?" || event.ctrlKey || event.altKey || event.metaKey) return;
    if (writes(event.composedPath()[0])) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else dialog.showModal();
  };
  document.addEventListener("keydown", dialog.listen);
  return () => document.removeEventListener("keydown", dialog.listen);
}

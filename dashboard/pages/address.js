// One step of the browser's history for each change of page, none for a change of what is shown.
//
// Streamlit adds a step for every word that it writes into the link, and its own links to other
// pages leave the rest of the link behind. Here a word in the link of the same page replaces the
// step, and a click on a link to another page is a step of its own, taken before Streamlit hears of
// it, as a step forward would be: whatever it then writes into the link belongs to the new step.

const LINKS = "a[data-testid=stTopNavLink], a[data-testid=stTopNavDropdownLink], " +
  "a[data-testid=stSidebarNavLink], a[data-testid=stPageLink-NavLink]";

function pathOf(url) {
  return new URL(url ?? "", location.href).pathname;
}

function begin() {
  if (window.scalescopeAddress) return;
  window.scalescopeAddress = true;
  const push = history.pushState;
  history.pushState = function (state, title, url) {
    const step = pathOf(url) === location.pathname ? history.replaceState : push;
    return step.call(history, state, title, url);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(LINKS);
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = new URL(link.href);
    if (target.origin !== location.origin || target.pathname === location.pathname) return;
    event.preventDefault();
    event.stopPropagation();
    push.call(history, {}, "", target.pathname + target.search);
    dispatchEvent(new PopStateEvent("popstate", { state: {} }));
    // A menu of links closes by itself only after a click that Streamlit saw.
    link.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  }, true);
}

// Streamlit's own page says that it is English: a screen reader would read Chinese as English, and
// a browser might take the Japanese forms of its characters.
export default function ({ data }) {
  document.documentElement.lang = data.language;
  begin();
}

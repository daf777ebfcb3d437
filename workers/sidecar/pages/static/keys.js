// Keys: ? shows them, / searches, g and a letter goes, j and k move, x chooses, r replays, Enter opens.
(() => {
  "use strict";
  const places = { o: "/", q: "/queues", d: "/dead-letters", r: "/replays", c: "/circuits", p: "/posts", n: "/accounts", a: "/audit" };
  const dialog = document.getElementById("keys");
  const rows = () => [...document.querySelectorAll("tr[data-row]")];
  let going = 0;

  const current = () => document.querySelector("tr[data-row].is-current");
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(current());
    const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
    current()?.classList.remove("is-current");
    next.classList.add("is-current");
    const link = next.querySelector("a");
    (link || next).focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  const press = (selector) => {
    const found = document.querySelector(selector);
    if (found) found.click();
    return Boolean(found);
  };

  const go = (key) => {
    going = 0;
    if (!(key in places)) return false;
    location.assign(places[key]);
    return true;
  };
  const actions = {
    "?": () => dialog?.showModal(),
    "/": () => document.querySelector(".find input")?.focus(),
    g: () => { going = Date.now(); },
    j: () => move(1),
    k: () => move(-1),
    x: () => current()?.querySelector("input.pick")?.click(),
    r: () => press("[data-key=r]"),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest("input:not(.pick), textarea, select, [contenteditable]");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || dialog?.open) return;
    const action = going && Date.now() - going < 1500 ? () => go(event.key) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  for (const button of document.querySelectorAll("[data-show-keys]")) {
    button.hidden = false;
    button.addEventListener("click", () => dialog?.showModal());
  }
})();

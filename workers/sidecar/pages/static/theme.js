// Before the first paint: the theme that was chosen, where one was.
(() => {
  "use strict";
  const root = document.documentElement;
  root.dataset.script = "on";
  try {
    const chosen = localStorage.getItem("penstock-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // Without storage the system's theme holds.
  }
})();

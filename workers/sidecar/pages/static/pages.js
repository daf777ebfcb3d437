// What pages do beyond reading: the theme, copying of ids, times that go on, live parts, choosing rows.
(() => {
  "use strict";
  const root = document.documentElement;
  const say = (text) => {
    const place = document.getElementById("said");
    if (place) place.textContent = text;
  };

  // Theme
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = document.getElementById("theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("penstock-theme", root.dataset.theme);
      } catch {
        // It holds for this page then.
      }
      say(`The theme is ${root.dataset.theme}.`);
    });
  }

  // Copying
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("is-done");
      say("Copied.");
      setTimeout(() => button.classList.remove("is-done"), 1500);
    } catch {
      say("The browser did not allow copying.");
    }
  });

  // Times
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const relative = (at) => {
    const seconds = (at - Date.now()) / 1000;
    const distance = Math.abs(seconds);
    if (distance < 2) return "now";
    const [unit, size] = units.find(([, length]) => distance >= length);
    const told = `${Math.floor(distance / size).toLocaleString("en")} ${unit}`;
    return seconds > 0 ? `in ${told}` : `${told} ago`;
  };
  const renewTimes = () => {
    for (const element of document.querySelectorAll("time[datetime]:not([data-fixed])")) {
      const told = relative(Date.parse(element.dateTime));
      if (element.textContent !== told) element.textContent = told;
    }
  };
  setInterval(renewTimes, 5000);

  const enhance = (scope) => {
    for (const button of scope.querySelectorAll("button[data-copy]")) button.hidden = false;
    for (const button of scope.querySelectorAll("[data-needs-script]")) button.hidden = false;
  };
  enhance(document);

  // Live parts: HTML of our own server, fetched again and again while somebody looks
  for (const part of document.querySelectorAll("[data-live]")) {
    const every = Number(part.dataset.every);
    const missed = document.getElementById("missed");
    const renew = async () => {
      if (document.hidden || part.contains(document.activeElement)) return true;
      const answer = await fetch(part.dataset.live, { headers: { "X-Part": "live" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const ended = answer.headers.get("X-Ended") === "yes";
      const text = await answer.text();
      const read = new DOMParser().parseFromString(text, "text/html");
      part.replaceChildren(...read.body.childNodes);
      enhance(part);
      const told = part.querySelector("[data-say]");
      if (told && told.textContent.trim() !== part.dataset.said) {
        part.dataset.said = told.textContent.trim();
        say(part.dataset.said);
      }
      if (missed) missed.hidden = true;
      return !ended;
    };
    let since = new Date();
    const round = async () => {
      let goOn = true;
      try {
        goOn = await renew();
        since = new Date();
      } catch {
        if (missed) {
          missed.hidden = false;
          missed.querySelector("span").textContent =
            `The sidecar does not answer; what you see is as of ${since.toISOString().slice(11, 19)} UTC.`;
        }
      }
      if (goOn) setTimeout(round, every);
      else if (part.dataset.atEnd === "reload") location.reload();
    };
    setTimeout(round, every);
  }

  // Choosing rows
  const all = document.querySelector("[data-pick-all]");
  const picks = () => [...document.querySelectorAll("input.pick[name=id]")];
  const count = () => {
    const place = document.querySelector("[data-picked]");
    const chosen = picks().filter((pick) => pick.checked).length;
    if (place) place.textContent = chosen === 1 ? "1 letter chosen" : `${chosen.toLocaleString("en")} letters chosen`;
    if (all) all.checked = chosen > 0 && chosen === picks().length;
  };
  if (all) {
    all.closest("[hidden]")?.removeAttribute("hidden");
    all.addEventListener("change", () => {
      for (const pick of picks()) pick.checked = all.checked;
      count();
    });
  }
  document.addEventListener("change", (event) => {
    if (event.target.matches("input.pick[name=id]")) count();
  });
  if (picks().length) count();
})();

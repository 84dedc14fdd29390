// What makes the pages live. All of them work without it.
"use strict";

document.documentElement.classList.add("js");

const say = (text) => { document.getElementById("said").textContent = text; };

// show puts what another URL of the console has in place of what depends on the
// moment: everything that is marked with data-swap and has the same id there.
let showing;
async function show(url, push) {
  showing?.abort();
  const mine = showing = new AbortController();
  try {
    const answer = await fetch(url, { signal: mine.signal, headers: { Accept: "text/html" } });
    const there = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine.signal.aborted) return;
    if (!there.getElementById("time")) { location.href = url; return; }
    for (const old of document.querySelectorAll("[data-swap]")) {
      const fresh = there.getElementById(old.id);
      if (!fresh) continue;
      old.replaceWith(fresh);
      htmx.process(fresh);
    }
    const time = document.getElementById("time");
    time.elements.page.value = there.getElementById("time").elements.page.value;
    setMoment(there.getElementById("time").elements.revision.value);
    document.title = there.title;
    if (push) history.pushState({ shown: true }, "", answer.url); else history.replaceState({ shown: true }, "", answer.url);
    say(`revision ${time.elements.revision.value}`);
    document.dispatchEvent(new Event("shown"));
  } catch (error) {
    if (error.name !== "AbortError") location.href = url;
  }
}

function setMoment(revision) {
  const time = document.getElementById("time"), range = time.elements.revision;
  range.value = revision;
  range.setAttribute("aria-valuetext", `revision ${revision} of ${range.max}`);
  time.querySelector("output").textContent = "@" + revision;
}

// The slider leads to the same page at another moment.
function goTo(revision, push) {
  const time = document.getElementById("time"), max = Number(time.elements.revision.max);
  const at = Math.min(Math.max(revision, 1), max);
  setMoment(at);
  const state = time.dataset.tenant + (at === max ? "" : "@" + at);
  show(`/${state}/${time.elements.page.value}`, push);
}

let resting;
document.addEventListener("input", (event) => {
  if (!event.target.matches("#time input[type=range]")) return;
  setMoment(event.target.value);
  clearTimeout(resting);
  resting = setTimeout(() => goTo(Number(event.target.value), false), 90);
});

window.addEventListener("popstate", () => show(location.href, false));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const range = document.querySelector("#time input[type=range]");
  switch (event.key) {
    case "/": {
      const filter = document.querySelector("[data-filter]");
      if (filter) { event.preventDefault(); filter.focus(); filter.select(); }
      break;
    }
    case "[": if (range) goTo(Number(range.value) - 1, true); break;
    case "]": if (range) goTo(Number(range.value) + 1, true); break;
    case "n": if (range) goTo(Number(range.max), true); break;
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const was = button.textContent;
  button.textContent = "Copied";
  say("copied");
  setTimeout(() => { button.textContent = was; }, 1500);
});

// A menu closes when one goes elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

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
    const open = [...document.querySelectorAll("details.branch[open]")].map((branch) => branch.dataset.prefix);
    const newest = Math.max(0, ...[...document.querySelectorAll("tr[data-revision]")].map((row) => Number(row.dataset.revision)));
    for (const old of document.querySelectorAll("[data-swap]")) {
      const fresh = there.getElementById(old.id);
      if (!fresh) continue;
      old.replaceWith(fresh);
      htmx.process(fresh);
    }
    for (const row of document.querySelectorAll("tr[data-revision]")) if (newest && Number(row.dataset.revision) > newest) row.classList.add("fresh");
    reopen(open);
    const time = document.getElementById("time");
    time.elements.page.value = there.getElementById("time").elements.page.value;
    setMoment(there.getElementById("time").elements.revision.value);
    document.title = there.title;
    if (push) history.pushState({ shown: true }, "", answer.url); else history.replaceState({ shown: true }, "", answer.url);
    say(`revision ${time.elements.revision.value}`);
    document.getElementById("news").textContent = "";
  } catch (error) {
    if (error.name !== "AbortError") location.href = url;
  }
}

// reopen opens the branches that were open, from the root on: those inside of others
// come when the others have.
function reopen(prefixes) {
  const next = () => {
    for (const branch of document.querySelectorAll("details.branch:not([open])")) if (prefixes.includes(branch.dataset.prefix)) branch.open = true;
  };
  next();
  if (prefixes.length) document.getElementById("page").addEventListener("htmx:afterSettle", next);
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
  if (time.elements.page.value === "commits") { show(`/${time.dataset.tenant}/commits/${at}`, push); return; }
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

window.addEventListener("popstate", (event) => { if (!event.state?.htmx && !location.hash) show(location.href, false); }); // a hash only leads to a part of the page

// A filter is a part of the address that the slider stays on.
document.addEventListener("htmx:pushedIntoHistory", () => {
  const time = document.getElementById("time");
  if (time) time.elements.page.value = location.pathname.replace(/^\/[^/]*\//, "") + location.search;
});

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

// News of commits. Only a page that can be seen listens: browsers open few
// connections to one server.
let source;
function listen() {
  const time = document.getElementById("time");
  if (!time || document.hidden) { source?.close(); source = undefined; return; }
  if (source) return;
  source = new EventSource(`/${time.dataset.tenant}/live?after=${time.dataset.head}`);
  source.addEventListener("commit", (event) => hear(JSON.parse(event.data)));
}
document.addEventListener("visibilitychange", listen);
window.addEventListener("pagehide", () => { source?.close(); source = undefined; });
window.addEventListener("pageshow", listen);

let refreshing;
function hear(news) {
  const time = document.getElementById("time"), range = time.elements.revision;
  const following = range.value === range.max && time.elements.page.value !== "commits";
  range.max = time.dataset.head = news.revision;
  setMoment(following ? news.revision : range.value);
  const text = `@${news.revision} by ${news.author}${news.message ? ": " + news.message : ""}`;
  say(`new commit ${text}`);
  if (following && !busy()) {
    clearTimeout(refreshing);
    refreshing = setTimeout(() => show(location.href, false), 200);
  } else {
    document.getElementById("news").textContent = `new: ${text}`;
  }
}

// A page that somebody is working on does not change under their hands.
function busy() {
  const page = document.getElementById("page");
  if (page.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return true;
  return [...page.querySelectorAll("[data-edit] textarea, [data-edit] input")].some((field) => field.value !== field.defaultValue);
}

document.addEventListener("click", (event) => {
  if (event.target.id === "news") { document.activeElement.blur(); goTo(Number(document.getElementById("time").elements.revision.max), true); }
});

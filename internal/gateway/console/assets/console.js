// Makes the pages live. All of them work without it.
"use strict";

document.documentElement.classList.add("js");

const say = (text) => { document.getElementById("said").textContent = text; };

// show replaces the parts of the page that depend on the revision with those of another
// URL: the elements that are marked with data-swap and have the same id there.
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

// reopen opens the branches that were open, from the root on: nested ones after
// those around them.
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

// The slider opens the same page at another revision.
function goTo(revision, push) {
  if (!mayLeave()) { setMoment(document.getElementById("time").elements.revision.defaultValue); return; }
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

// A menu closes on a click outside.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// Notices of new commits. Only a visible page listens: browsers open few connections to
// one server.
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

// A page that its user is working on is not replaced by live updates.
function busy() {
  const page = document.getElementById("page");
  return page.contains(document.activeElement) && document.activeElement.matches("input, textarea, select") || edited();
}

// edited reports whether the page has text that was typed and not written.
function edited() {
  if (document.querySelector("[data-edit][data-unsaved]")) return true;
  return [...document.querySelectorAll("[data-edit] textarea, [data-edit] input:not([type=hidden])")].some((field) => field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
}

// Typed text is lost only if the user agrees, or discards it with the form's own link.
let leaving = false;
function mayLeave() { return !edited() || confirm("Discard what you typed?"); }
window.addEventListener("beforeunload", (event) => { if (edited() && !leaving) event.preventDefault(); });
document.addEventListener("click", (event) => { if (event.target.closest("[data-discard]")) leaving = true; });
window.addEventListener("pageshow", () => { leaving = false; });

// A form is sent only while the gateway can be reached: the browser's own error page
// would replace the form and its text.
document.addEventListener("submit", async (event) => {
  const form = event.target, button = event.submitter;
  if (!form.matches("[data-edit]")) return;
  if (leaving) return;
  event.preventDefault();
  form.querySelector("[data-unreachable]")?.remove();
  try {
    await fetch(document.querySelector("link[rel=icon]").href, { method: "HEAD", cache: "no-store" });
  } catch {
    const note = document.createElement("p");
    note.className = "note bad";
    note.role = "alert";
    note.dataset.unreachable = "";
    note.textContent = "The gateway cannot be reached. Nothing was written, and your text is still here: try again.";
    form.prepend(note);
    return;
  }
  leaving = true;
  form.requestSubmit(button);
});

document.addEventListener("click", (event) => {
  if (event.target.id === "news") { document.activeElement.blur(); goTo(Number(document.getElementById("time").elements.revision.max), true); }
});

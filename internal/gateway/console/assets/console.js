// Makes the pages live. All of them work without it.
"use strict";

document.documentElement.classList.add("js");

const say = (text) => { document.getElementById("said").textContent = text; };

// show replaces the parts of the page that depend on the revision with those of another
// URL: the elements that are marked with data-swap and have the same id there, if may returns true
// when they have been received. It reports whether it did.
let showing;
async function show(url, push, may) {
  showing?.abort();
  const mine = showing = new AbortController();
  try {
    const answer = await fetch(url, { signal: mine.signal, headers: { Accept: "text/html" } });
    const there = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine.signal.aborted) return false;
    if (!may()) { if (!move) setSlider(); return false; }
    if (!there.getElementById("time")) { location.href = url; return false; }
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
    const time = document.getElementById("time"), now = there.getElementById("time");
    time.elements.page.value = now.elements.page.value;
    Object.assign(time.dataset, now.dataset);
    Object.assign(slider(), { min: now.elements.position.min, max: now.elements.position.max });
    if (!move) setSlider();
    document.title = there.title;
    if (push) history.pushState({ place: ++place }, "", answer.url); else history.replaceState({ place }, "", answer.url);
    shown = address();
    say(`revision ${time.dataset.revision}`);
    document.getElementById("news").textContent = "";
    advance();
    document.dispatchEvent(new Event("stele:shown"));
    return true;
  } catch (error) {
    if (error instanceof TypeError) { setSlider(); setConnection("lost"); setTimeout(listen, 2000); } // the page stays
    else if (error.name !== "AbortError") location.href = url;
    return false;
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

// advance brings the relative times up to date, by the server's clock.
const ahead = Number(document.body.dataset.now) - Date.now();
const units = [[31536000, "year"], [2592000, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]];
function ago(seconds) {
  if (seconds < 2) return "just now";
  for (const [length, name] of units) {
    const n = Math.floor(seconds / length);
    if (n > 0) return `${n} ${name}${n > 1 ? "s" : ""} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}
function advance() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago((Date.now() + ahead - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time:not([data-local])")) {
    time.dataset.local = "";
    const date = new Date(time.dateTime);
    time.title = both(date);
    if (!("ago" in time.dataset)) time.textContent = both(date);
  }
}

// local is a time in the user's time zone, next to UTC; empty if they are the same.
function local(date) {
  if (date.getTimezoneOffset() === 0) return "";
  return date.toLocaleString("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
}
const utc = (date) => date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
const both = (date) => [utc(date), local(date)].filter(Boolean).join(" · ");

const slider = () => document.querySelector("#time input[type=range]");

// setSlider puts the slider on the state that the page shows.
function setSlider() {
  const { revision, head, time } = document.getElementById("time").dataset, date = new Date(time);
  slider().step = 1;
  slider().value = revision === head ? Math.ceil(date / 1000) : Math.floor(date / 1000);
  slider().setAttribute("aria-valuetext", `revision ${revision} of ${head}, ${both(date)}`);
  document.querySelector("[data-shown-revision]").textContent = "@" + revision;
  document.querySelector("[data-shown-time]").textContent = both(date);
}

// setDate shows where the slider is dragged to.
function setDate(seconds) {
  const date = new Date(seconds * 1000);
  slider().setAttribute("aria-valuetext", both(date));
  document.querySelector("[data-shown-revision]").textContent = "";
  document.querySelector("[data-shown-time]").textContent = both(date);
}
if (slider()) setSlider();
advance();
setInterval(advance, 10000);

// goTo opens the same page at another revision.
async function goTo(revision, push) {
  const time = document.getElementById("time"), head = Number(time.dataset.head);
  const may = askToLeave();
  if (!may) { setSlider(); return false; }
  const at = Math.min(Math.max(revision, 1), head);
  if (time.elements.page.value === "commits") return show(`/${time.dataset.tenant}/commits/${at}`, push, may);
  const state = time.dataset.tenant + (at === head ? "" : "@" + at);
  return show(`/${state}/${time.elements.page.value}`, push, may);
}

// goToTime opens the same page at a time on the slider.
async function goToTime(position, push) {
  const time = document.getElementById("time");
  const may = askToLeave();
  if (!may) { setSlider(); return false; }
  return show(`${time.getAttribute("action")}?${new URLSearchParams({ page: time.elements.page.value, position })}`, push, may);
}

// A move of the slider, from the first change of its value to its release, is one entry of
// the browser's history.
let resting, move;
document.addEventListener("input", (event) => {
  if (event.target !== slider()) return;
  const position = event.target.value, mine = move ??= { entered: false };
  setDate(position);
  clearTimeout(resting);
  resting = setTimeout(async () => { if (await goToTime(position, !mine.entered)) mine.entered = true; }, 90);
});
document.addEventListener("change", (event) => {
  if (event.target !== slider()) return;
  const push = !move?.entered;
  move = undefined;
  clearTimeout(resting);
  goToTime(event.target.value, push);
});

// The arrow keys go from commit to commit.
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (!by || event.target !== slider() || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  goTo(Number(document.getElementById("time").dataset.revision) + by, true);
});

// A click on the histogram goes to that time, or to the version that is marked next to it.
document.addEventListener("click", (event) => {
  const drawing = event.target.closest("#histogram");
  if (!drawing) return;
  const box = drawing.getBoundingClientRect(), { min, max } = slider();
  const near = [...drawing.querySelectorAll("[data-version]")].map((mark) => ({ revision: Number(mark.dataset.version), distance: Math.abs(mark.getBoundingClientRect().x - event.clientX) }))
    .filter((mark) => mark.distance < 7).sort((a, b) => a.distance - b.distance)[0];
  if (near) goTo(near.revision, true);
  else goToTime(Math.round(Number(min) + (max - min) * Math.min((event.clientX + 1 - box.left) / (box.width - 1), 1)), true);
});

// step goes to the neighboring version if the page has some, or else to the neighboring
// commit.
function step(by) {
  if (document.querySelector("[data-versions]")) {
    const version = document.querySelector(by < 0 ? "[data-versions] [rel=prev]" : "[data-versions] [rel=next]");
    const may = version && askToLeave();
    if (may) show(version.href, true, may);
    return;
  }
  if (slider()) goTo(Number(document.getElementById("time").dataset.revision) + by, true);
}

// place counts the entries of the browser's history that this page has added, up to the shown one.
let place = history.state?.place ?? 0;
history.replaceState({ ...history.state, place }, "");

// shown is the address of the page, without the part of it that a link leads to.
const address = () => location.pathname + location.search;
let shown = address();

// Back and Forward have changed the address when the page hears of them: to keep typed text,
// it returns to the entry that it shows.
let returning = false;
window.addEventListener("popstate", (event) => {
  if (returning) { returning = false; return; }
  if (event.state?.htmx) { shown = address(); return; }
  if (address() === shown) { // another part of the page
    place = event.state?.place ?? place + 1;
    if (!event.state) history.replaceState({ place }, "");
    return;
  }
  const from = place, may = askToLeave();
  const stay = () => {
    if (place !== from) { returning = true; history.go(from - place); }
    place = from;
    return false;
  };
  place = event.state?.place ?? place;
  if (may) show(location.href, false, () => may() || stay()); else stay();
});

// A filter is a part of the address that the slider stays on.
document.addEventListener("htmx:pushedIntoHistory", () => {
  shown = address();
  const time = document.getElementById("time");
  if (time) time.elements.page.value = location.pathname.replace(/^\/[^/]*\//, "") + location.search;
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog, .json-editor")) return;
  const time = document.getElementById("time");
  switch (event.key) {
    case "/": {
      const filter = document.querySelector("[data-filter]");
      if (filter) { event.preventDefault(); filter.focus(); filter.select(); }
      break;
    }
    case "[": step(-1); break;
    case "]": step(1); break;
    case "?": document.getElementById("help")?.showModal(); break;
    case "n": if (time) goTo(Number(time.dataset.head), true); break;
    case "+": document.querySelector("#zoom-buttons [title='Zoom in']")?.click(); break;
    case "-": document.querySelector("#zoom-buttons [title='Zoom out']")?.click(); break;
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const copied = await copy(button.dataset.copy), was = button.textContent;
  button.textContent = copied ? "Copied" : "Not copied";
  say(copied ? "copied" : "not copied: select the text and copy it");
  setTimeout(() => { button.textContent = was; }, 1500);
});

// copy also works without TLS, where browsers have no clipboard API.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const focused = document.activeElement, field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-choose-all]")) for (const box of event.target.form.elements) if (box.name === "key") box.checked = event.target.checked;
});

document.addEventListener("click", (event) => {
  const help = document.getElementById("help");
  if (event.target.closest("#show-help")) help.showModal(); else if (event.target === help) help.close();
});

// A menu closes on a click outside.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A worker that all windows share notifies them of new commits. Only a visible page
// listens.
const connection = document.getElementById("connection");
let worker;
function openWorker() {
  const { worker: url, user } = connection.dataset;
  const port = window.SharedWorker ? new SharedWorker(url, { name: user }).port : new Worker(url);
  port.onmessage = ({ data }) => { if (data.state) setConnection(data.state); else hear(data.commit); };
  return port;
}
function listen() {
  if (!connection) return;
  if (document.hidden) { worker?.postMessage(null); return; }
  const shown = document.getElementById("time")?.dataset;
  worker ??= openWorker();
  worker.postMessage({ tenant: shown?.tenant ?? "", after: Number(shown?.head ?? 0) });
}
document.addEventListener("visibilitychange", listen);
window.addEventListener("pagehide", () => worker?.postMessage(null));
window.addEventListener("pageshow", listen);

// setConnection shows whether the page can still be up to date.
const states = {
  lost: "The gateway cannot be reached. This page shows what it had before, and is updated when the gateway can be reached again.",
  ended: "Your session has ended, so this page is no longer updated. Load it again to log in.",
};
function setConnection(state) {
  connection.hidden = state === "live";
  if (connection.textContent !== (states[state] ?? "")) connection.textContent = states[state] ?? "";
  const newest = document.getElementById("newest"), time = document.getElementById("time")?.dataset;
  if (state !== "live") newest?.removeAttribute("aria-current");
  else if (time?.revision === time?.head && !document.getElementById("news")?.textContent) newest?.setAttribute("aria-current", "true");
}

let refreshing;
function hear(news) {
  const time = document.getElementById("time");
  if (news.revision <= Number(time.dataset.head)) return;
  const following = time.dataset.revision === time.dataset.head && time.elements.page.value !== "commits";
  time.dataset.head = news.revision;
  const text = `@${news.revision} by ${news.author}${news.message ? ": " + news.message : ""}`;
  say(`new commit ${text}`);
  const may = () => {
    if (following && !busy()) return true;
    document.getElementById("news").textContent = `new: ${text}`;
    document.getElementById("newest").removeAttribute("aria-current");
    return false;
  };
  if (!may()) return;
  clearTimeout(refreshing);
  refreshing = setTimeout(() => { if (may()) show(location.href, false, may); }, 200);
}

// A page that its user is working on is not replaced by live updates.
function busy() {
  const page = document.getElementById("page");
  return page.contains(document.activeElement) && document.activeElement.matches("input, textarea, select, .json-editor") || edited() || document.querySelector("[data-collected]") !== null;
}

// edited reports whether the page has text that was typed and not written.
function edited() {
  if (document.querySelector("[data-edit][data-unsaved]")) return true;
  return [...document.querySelectorAll("[data-edit] textarea, [data-edit] input:not([type=hidden])")].some((field) => field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
}

// Typed text is lost only if the user agrees, or discards it with the form's own link.
let leaving = false;
function mayLeave() { return !edited() || confirm("Discard what you typed?"); }

// askToLeave asks before typed text is lost. It returns the condition of a later loss: text that is
// typed after it has not asked is not lost without a question either. It returns nothing if the
// user keeps the text.
function askToLeave() {
  if (!edited()) return mayLeave;
  return mayLeave() ? () => true : undefined;
}
window.addEventListener("beforeunload", (event) => { if (edited() && !leaving) event.preventDefault(); });
document.addEventListener("click", (event) => { if (event.target.closest("[data-discard]")) leaving = true; });
window.addEventListener("pageshow", () => { leaving = false; });

// The view of the differences is kept for all pages.
document.addEventListener("change", (event) => {
  if (!event.target.matches(".diff-view input")) return;
  document.cookie = `stele-diff=${event.target.value}; path=/; max-age=31536000; samesite=strict${location.protocol === "https:" ? "; secure" : ""}`;
});

// Ctrl+Enter submits the form, also from a field of several lines.
const defaultButton = (form) => form.querySelector("button:not([type=button])");
document.addEventListener("keydown", (event) => {
  const form = event.target.closest("form[data-edit], form[data-collected]");
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !form || event.defaultPrevented) return;
  event.preventDefault();
  form.requestSubmit(defaultButton(form));
});

// Esc leaves a form, as its own link does, and asks first if something was typed.
document.addEventListener("keydown", (event) => {
  const link = event.target.closest("form[data-edit]")?.querySelector("a[data-discard]");
  if (event.key !== "Escape" || !link || event.defaultPrevented || event.isComposing || !mayLeave()) return;
  leaving = true;
  location.href = link.href;
});

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
  if (event.target.id === "news") { document.activeElement.blur(); goTo(Number(document.getElementById("time").dataset.head), true); }
});

// The change set that a user collects over the pages of keys. The tab keeps it, for each tenant
// and user, until it is committed. Its values may be secret, so that they do not outlive the tab.
"use strict";

(() => {
  if (!connection?.dataset.tenant) return;
  const name = `stele changes of ${connection.dataset.user} in ${connection.dataset.tenant}`;

  function collected() {
    try { return JSON.parse(sessionStorage.getItem(name)) ?? []; } catch { return []; }
  }

  function keep(rows) {
    try {
      sessionStorage.setItem(name, JSON.stringify(rows));
    } catch {
      alert("The change set is too large for this browser to keep: commit it in parts.");
      return false;
    }
    count();
    return true;
  }

  // count shows how many changes there are, and whether the key on the page has one.
  function count() {
    const rows = collected();
    for (const place of document.querySelectorAll("[data-count]")) place.textContent = rows.length || "";
    for (const note of document.querySelectorAll("[data-changed-key]")) note.hidden = !rows.some((row) => row.key === note.dataset.changedKey);
  }

  const rowOf = (fields) => Object.fromEntries(["key", "value", "action", "expected", "commit"].map((field) => [field, fields(field)?.value ?? ""]));

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-collect]");
    if (!button) return;
    event.preventDefault();
    if (!button.formNoValidate && !button.form.reportValidity()) return;
    const row = rowOf((field) => button.form.elements[field]);
    if (!keep([...collected().filter((other) => other.key !== row.key), row])) return;
    leaving = true;
    location.href = button.dataset.collect;
  });

  // The page of the change set.
  const page = () => document.querySelector("form[data-collected]");
  const rows = () => [...document.querySelectorAll("#rows .change-row")];
  const field = (row, of) => row.querySelector(`[name=${of}]`);
  const save = () => keep(rows().map((row) => rowOf((of) => field(row, of))).filter((row) => row.key || row.value));

  function add(change) {
    const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
    for (const of in change) if (field(row, of)) field(row, of).value = change[of];
    field(row, "value").rows = Math.min(Math.max((change.value ?? "").split("\n").length, 2), 12);
    document.getElementById("rows").append(row);
    document.dispatchEvent(new Event("stele:fields"));
    return row;
  }

  function fill() {
    count();
    if (page()?.dataset.collected !== "kept") return;
    const there = rows().map((row) => field(row, "key").value), missing = collected().filter((row) => !there.includes(row.key));
    if (missing.length) for (const row of rows()) if (!field(row, "key").value && !field(row, "value").value) row.remove();
    for (const change of missing) add(change);
  }

  document.addEventListener("input", (event) => {
    const row = event.target.closest("[data-collected] .change-row");
    if (!row) return;
    // Another key is expected to be at its revision when it is reviewed.
    if (event.target.name === "key") field(row, "expected").value = field(row, "commit").value = "";
    save();
  });
  document.addEventListener("click", (event) => {
    if (!page()) return;
    const button = event.target.closest("button");
    if (button?.value === "add") { event.preventDefault(); field(add({}), "key").focus(); }
    if (button?.name === "drop") {
      event.preventDefault();
      button.closest(".change-row").remove();
      if (!rows().length) add({});
      save();
      field(rows()[0], "key").focus();
    }
    if (button?.id === "discard" && confirm("Discard the whole change set?")) { keep([]); location.href = page().action; }
  });

  // What is committed is no longer kept, also if more was collected meanwhile.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.submitter?.value !== "commit" || !form.elements.collected) return;
    const keys = [...form.querySelectorAll("[name=key]")].map((input) => input.value);
    keep(collected().map((row) => keys.includes(row.key) ? { ...row, sent: form.elements.form.value } : row));
  }, true);
  const committed = new URLSearchParams(location.search).get("committed");
  if (committed) keep(collected().filter((row) => row.sent !== committed));

  // Nor do they outlive the session.
  document.addEventListener("submit", (event) => {
    if (event.target.getAttribute("action") !== "/logout") return;
    const names = Object.keys(sessionStorage).filter((other) => other.startsWith(`stele changes of ${connection.dataset.user} in `));
    const kept = names.some((other) => sessionStorage.getItem(other) !== "[]");
    if (kept && !confirm("Log out and discard the change set?")) event.preventDefault();
    else for (const other of names) sessionStorage.removeItem(other);
  });

  if (page()?.dataset.collected === "sent") save();
  fill();
  document.addEventListener("stele:shown", fill);
  window.addEventListener("pageshow", fill);
})();

// The command palette, Ctrl+K: it goes to tenants, keys and commits.
"use strict";

(() => {
  const palette = document.getElementById("palette");
  if (!palette) return;
  const input = palette.querySelector("input"), list = palette.querySelector("ul");
  let asked;

  async function ask() {
    asked?.abort();
    const mine = asked = new AbortController();
    try {
      const url = new URL(document.getElementById("foot").dataset.jump, location.href);
      url.searchParams.set("q", input.value);
      const answer = await fetch(url, { signal: mine.signal });
      if (answer.ok) list.innerHTML = await answer.text();
    } catch { /* another text is asked for, or the gateway cannot be reached */ }
  }

  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    if (palette.open) { palette.close(); return; }
    palette.showModal();
    input.select();
    ask();
  });

  let resting;
  input.addEventListener("input", () => { clearTimeout(resting); resting = setTimeout(ask, 120); });
  palette.addEventListener("keydown", async (event) => {
    const links = [...list.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const to = at + (event.key === "ArrowDown" ? 1 : -1);
      if (to < 0) input.focus(); else links[to]?.focus();
    } else if (event.key === "Enter" && event.target === input) {
      event.preventDefault();
      clearTimeout(resting);
      await ask(); // for the text as it is now
      list.querySelector("a")?.click();
    } else if (at >= 0 && event.key.length === 1 && !event.ctrlKey && !event.metaKey) input.focus();
  });
  palette.addEventListener("click", (event) => { if (event.target === palette || event.target.closest("a")) palette.close(); });
})();

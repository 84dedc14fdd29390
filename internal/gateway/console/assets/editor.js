// The JSON editor in the place of the fields that are marked with data-json. The field stays
// and has the same text, so a form is the same with and without the editor. The editor is
// in a shadow tree, where its styles are constructed sheets: the content security policy
// needs no exception for them.
"use strict";

(() => {
  const { EditorView, HighlightStyle, Annotation, tags } = CodeMirror;
  const fromField = Annotation.define();

  const theme = EditorView.theme({
    "&": { color: "var(--ink)", backgroundColor: "var(--slab)", border: "1px solid var(--cut)", borderRadius: "3px", fontSize: ".93em" },
    "&.cm-focused": { outline: "2px solid var(--verdigris)", outlineOffset: "1px" },
    ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", minHeight: "5.5rem", maxHeight: "34rem", overflow: "auto" },
    ".cm-content": { caretColor: "var(--ink)" },
    ".cm-gutters": { color: "var(--worn)", backgroundColor: "var(--slab)", borderRight: "1px solid var(--cut-soft)" },
    "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--verdigris-soft)" },
    // A bracket whose other half is too far away to be searched for; the linter reports missing ones.
    "&.cm-focused .cm-nonmatchingBracket": { backgroundColor: "transparent" },
    ".cm-tooltip": { color: "var(--ink)", backgroundColor: "var(--slab)", border: "1px solid var(--cut)" },
    ".cm-diagnostic-error": { borderLeftColor: "var(--fallen)" },
  });
  const colors = HighlightStyle.define([
    { tag: tags.propertyName, color: "var(--ink)" },
    { tag: tags.string, color: "var(--grown)" },
    { tag: tags.number, color: "var(--ochre)" },
    { tag: [tags.bool, tags.null], color: "var(--verdigris)" },
    { tag: [tags.separator, tags.squareBracket, tags.brace], color: "var(--worn)" },
  ]);

  // formatted is a JSON text with a line for each member. Numbers and strings stay as they are written.
  function formatted(text) {
    const tokens = text.match(/"(?:\\.|[^"\\])*"|[[\]{},:]|[^[\]{},:"\s]+/g) ?? [];
    let out = "", depth = 0;
    const line = (by) => "\n" + "  ".repeat(depth += by);
    tokens.forEach((token, i) => {
      const opens = token === "{" || token === "[", closes = token === "}" || token === "]";
      if (closes && !/^[{[]$/.test(tokens[i - 1])) out += line(-1);
      out += token;
      if (opens && !/^[}\]]$/.test(tokens[i + 1])) out += line(1);
      else if (token === ",") out += line(0);
      else if (token === ":") out += " ";
    });
    return out;
  }

  // format formats the text of an editor if it is JSON.
  function format(view) {
    const text = view.state.doc.toString();
    try { JSON.parse(text); } catch { return true; } // the editor shows the error
    const is = formatted(text);
    if (is !== text) view.dispatch({ changes: { from: 0, to: text.length, insert: is }, selection: { anchor: 0 }, userEvent: "input.format" });
    return true;
  }

  function edit(field) {
    const form = field.form, host = document.createElement("div"), note = document.createElement("p"), button = document.createElement("button");
    host.className = "json-editor";
    note.className = "problem";
    note.role = "status";
    Object.assign(button, { type: "button", className: "quiet small json-format", textContent: "Format", title: "Format the JSON (Shift+Alt+F)", onclick: () => { format(view); view.focus(); } });
    field.closest("label").after(host, note, button);
    const long = field.classList.contains("long");
    let own = false; // an input event of the field is the editor's

    // write puts the text into the field. That of a long one takes longer than a key press should, so it
    // waits until typing rests, or until the field may be read.
    let unwritten;
    function write() {
      clearTimeout(unwritten);
      unwritten = undefined;
      own = true;
      field.value = view.state.doc.toString();
      field.dispatchEvent(new Event("input", { bubbles: true }));
      own = false;
    }
    function writeLater() {
      clearTimeout(unwritten);
      unwritten = setTimeout(write, 300);
    }
    if (long) window.addEventListener("keydown", (event) => { if (unwritten && event.key === "Escape") write(); }, true);
    if (long) for (const event of ["click", "submit", "beforeunload"]) window.addEventListener(event, () => { if (unwritten) write(); }, true);

    // where says at which line and column the text is not JSON.
    function where(view) {
      let text = "";
      CodeMirror.forEachDiagnostic(view.state, (diagnostic, from) => {
        const line = view.state.doc.lineAt(from);
        text ||= `Line ${line.number}, column ${from - line.from + 1}: ${diagnostic.message.replace(/,? (in JSON )?at (position|line) .*/, "")}`;
      });
      if (note.textContent !== text) note.textContent = text;
    }

    const view = new EditorView({
      doc: field.value,
      root: host.attachShadow({ mode: "open", delegatesFocus: true }),
      parent: host.shadowRoot,
      extensions: [
        CodeMirror.lineNumbers(), CodeMirror.history(), CodeMirror.bracketMatching(), CodeMirror.indentOnInput(), EditorView.lineWrapping,
        CodeMirror.json(), CodeMirror.syntaxHighlighting(colors), theme,
        CodeMirror.linter((view) => view.state.doc.toString().trim() ? CodeMirror.jsonParseLinter()(view) : [], { delay: 300 }), CodeMirror.lintGutter(),
        CodeMirror.keymap.of([{ key: "Mod-Enter", run: () => { form.requestSubmit(defaultButton(form)); return true; } }, { key: "Shift-Alt-f", run: format }, ...CodeMirror.defaultKeymap, ...CodeMirror.historyKeymap]),
        EditorView.contentAttributes.of({ "aria-label": field.dataset.json, "aria-invalid": field.getAttribute("aria-invalid") ?? "false", spellcheck: "false", autocapitalize: "off" }),
        // A browser keeps the color of a selection that is typed over with an inline style, which
        // the content security policy blocks.
        EditorView.domEventHandlers({ beforeinput: (event, view) => {
          if (event.inputType !== "insertText" || !event.data || event.isComposing || view.state.selection.main.empty) return false;
          event.preventDefault();
          view.dispatch(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
          return true;
        } }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && !update.transactions.some((change) => change.annotation(fromField))) {
            if (long) writeLater(); else write();
          }
          where(update.view);
        }),
      ],
    });
    const focus = field.autofocus || document.activeElement === field || field.getAttribute("aria-invalid") === "true";
    field.classList.add("unseen");
    if (long) field.required = false; // it is not displayed, so the browser could not point at it
    field.tabIndex = -1;
    field.ariaHidden = "true";
    field.closest("label").addEventListener("click", (event) => { event.preventDefault(); view.focus(); });
    field.addEventListener("input", () => {
      if (!own) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: field.value }, annotations: fromField.of(true) });
    });
    if (focus) view.focus();
  }

  // A page can have many fields: an editor is made when its field comes into view.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting && target.isConnected) { seen.unobserve(target); edit(target); }
  }, { rootMargin: "300px" });
  function editAll() {
    for (const field of document.querySelectorAll("textarea[data-json]:not(.unseen)")) {
      if (field.autofocus || field.classList.contains("long")) edit(field); else seen.observe(field);
    }
  }
  editAll();
  for (const event of ["stele:shown", "stele:fields"]) document.addEventListener(event, editAll);

  // The schemas' verdict about what is typed.
  let resting, asked;
  async function checkValue(form) {
    const place = form.querySelector("[data-check]"), value = form.elements.value.value;
    asked?.abort();
    const mine = asked = new AbortController();
    const key = form.elements.key?.type === "text" ? form.elements.key.value.trim().split("/").map(encodeURIComponent).join("/") : "";
    const open = place.querySelector("details[open]") !== null;
    try {
      const answer = await fetch(place.dataset.check + key, { method: "POST", signal: mine.signal, body: new URLSearchParams({ value }) });
      if (!answer.ok) return;
      place.innerHTML = await answer.text();
      if (open) for (const hint of place.querySelectorAll("details")) hint.open = true;
    } catch { /* another text is checked, or the gateway cannot be reached: the review checks it */ }
  }
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form:has([data-check])");
    if (!form || !["value", "key"].includes(event.target.name)) return;
    clearTimeout(resting);
    resting = setTimeout(() => checkValue(form), 500);
  });
})();

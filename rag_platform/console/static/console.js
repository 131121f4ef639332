// One-key shortcuts and signs of work under way. Every page works without this file.
"use strict";

(() => {
  const OFF = "rag_platform.keys.off";
  const root = document.documentElement;

  const isOn = () => {
    try { return localStorage.getItem(OFF) === null; } catch { return true; }
  };
  const turn = (on) => {
    root.classList.toggle("keys", on);
    try { on ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"); } catch { /* no store */ }
  };
  const inDialog = () => document.querySelector("dialog[open]") !== null;
  const isTyping = (element) =>
    element.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(element.tagName);
  const visible = (element) => element.getClientRects().length > 0;
  const named = () => [...document.querySelectorAll("[data-key]")].filter(visible);
  const words = (element) =>
    element.dataset.hint || element.getAttribute("aria-label") || element.textContent.trim();

  const make = (tag, text = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  };

  // A dialog that lists the keys of the page, and turns them off for who dictates or mistypes.
  const showKeys = () => {
    const dialog = make("dialog");
    dialog.setAttribute("aria-labelledby", "keys-title");
    const title = make("h2", "Keys");
    title.id = "keys-title";
    const list = make("dl");
    list.className = "facts";
    for (const [key, said] of [["?", "This list"], ...named().map((e) => [e.dataset.key, words(e)])]) {
      const term = make("dt");
      term.append(make("kbd", key));
      list.append(term, make("dd", said));
    }
    const label = make("label", " Use these keys");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = isOn();
    box.addEventListener("change", () => turn(box.checked));
    label.prepend(box);
    const close = make("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    const row = make("p");
    row.append(label);
    dialog.append(title, list, row, close);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };

  const press = (element) => {
    if (isTyping(element)) { element.focus(); element.select?.(); } else { element.focus(); element.click(); }
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.defaultPrevented) return;
    if (isTyping(event.target) || inDialog()) return;
    if (event.key === "?") { event.preventDefault(); showKeys(); return; }
    if (!isOn()) return;
    const element = named().find((each) => each.dataset.key === event.key && !each.disabled);
    if (element) { event.preventDefault(); press(element); }
  });

  // A form is sent once: a model may take a while to answer, and a change is made once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (event.submitter) event.submitter.setAttribute("aria-busy", "true");
    form.dataset.sent = "1";
  });
  const again = () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  };
  window.addEventListener("pageshow", again);
  document.addEventListener("htmx:afterRequest", again);

  const button = document.getElementById("show-keys");
  if (button) { button.hidden = false; button.addEventListener("click", showKeys); }
  turn(isOn());
})();

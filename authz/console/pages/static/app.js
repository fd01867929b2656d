// Small behaviours of pages. Without them every page can be read, and every form can be sent.
"use strict";

// A form is sent once: a double click does not send it again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  setTimeout(() => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
});

// Copy the text of an element that a button names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = before), 2000);
});

// One box picks all rows of a table.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-pick-all]");
  if (!all) return;
  for (const box of document.querySelectorAll(`input[name="${all.dataset.pickAll}"]`)) {
    box.checked = all.checked;
  }
});

// Parts that only work with scripts.
for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;

// The text of a key has no place in a search or in a URL: only the id of the key stays.
document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-strip-secret]")) return;
  const found = event.target.value.match(/[a-z][a-z0-9]{1,11}_(?:live|test)_([0-9A-Za-z]{16})_/);
  if (found) event.target.value = found[1];
}, true);

// Scripts also work in the parts that htmx replaces.
document.addEventListener("htmx:afterSwap", (event) => {
  for (const part of event.target.querySelectorAll("[data-script]")) part.hidden = false;
});

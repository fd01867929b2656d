// Live parts of a page: each event is the part anew, as the server renders it, with all text escaped.
// Without them the page shows its state of when it was loaded.
"use strict";

for (const part of document.querySelectorAll("[data-live]")) {
  const state = document.querySelector("[data-live-state]");
  const tell = (text) => state && (state.textContent = text);
  let source;
  const open = () => {
    source = new EventSource(part.dataset.live);
    source.onopen = () => tell("Updates live.");
    source.onmessage = (event) => (part.innerHTML = event.data);
    source.onerror = () => tell("Not live: the server does not answer. The table may be old.");
    source.addEventListener("over", () => {
      source.close();
      tell("Not live: your session has ended. Load the page again.");
    });
  };
  open();
  // A page in the background needs no events.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) open();
  });
}

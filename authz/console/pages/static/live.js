// Live parts: when the server tells of a change, the page is read again and its parts are replaced.
"use strict";

const PAUSE = 1000; // ms between two readings

let timer = 0;
let stale = false;

async function refresh() {
  timer = 0;
  if (document.hidden) {
    stale = true;
    return;
  }
  stale = false;
  try {
    const response = await fetch(location.href, { headers: { "x-live": "1" }, redirect: "error" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (next && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(next));
    }
  } catch {
    // The next event tries again.
  }
}

function follow() {
  const source = new EventSource("/live");
  source.addEventListener("change", () => {
    timer ||= setTimeout(refresh, PAUSE);
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 10_000);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && stale) refresh();
});
if (document.querySelector("[data-live]")) follow();

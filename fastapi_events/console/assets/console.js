// Live figures and pages, keys, and buttons that copy. Without it every page works, and stands still.
(function () {
  "use strict";

  const TYPING = "input, select, textarea, [contenteditable]";
  const SCREENS = { n: 0, e: 1, s: 2, d: 3, o: 4, l: 5, q: 6, c: 7, a: 8 };
  const STILL = "fastapi-events-still";
  let source = null;
  let figures = null;
  let afterG = false;

  // Live: the figures come by server-sent events, and each time the page is asked for once more. While the
  // window is not looked at, or somebody wants it to stand still, nothing is asked.

  const live = document.getElementById("live");
  const isStill = () => sessionStorage.getItem(STILL) === "yes";

  function connect() {
    const stream = document.getElementById("stream");
    const fresh = stream.cloneNode(true);
    const focused = stream.contains(document.activeElement) ? document.activeElement.id : "";
    stream.replaceWith(fresh);
    htmx.process(fresh);
    if (focused) {
      document.getElementById(focused).focus({ preventScroll: true });
    }
  }

  function disconnect() {
    if (source !== null) {
      source.close();
      source = null;
    }
  }

  function follow() {
    const wanted = !isStill() && !document.hidden;
    if (wanted && source === null) {
      connect();
    } else if (!wanted) {
      disconnect();
    }
    live.setAttribute("aria-pressed", String(!isStill()));
    live.querySelector(".live-said").textContent = isStill() ? "Still" : "Live";
  }

  function toggle() {
    sessionStorage.setItem(STILL, isStill() ? "no" : "yes");
    follow();
  }

  function isInUse(content) {
    const selection = document.getSelection();
    return (
      (content.contains(document.activeElement) && document.activeElement !== content) ||
      (selection !== null && !selection.isCollapsed) ||
      content.querySelector("details[open]:not(.still), form[data-dirty]") !== null
    );
  }

  document.body.addEventListener("htmx:sseOpen", (event) => {
    source = event.detail.source;
    if (isStill() || document.hidden) {
      disconnect();
    }
  });

  document.body.addEventListener("htmx:sseClose", (event) => {
    if (event.detail.type === "message") {
      source = null; // this stream is over, and another follows
      setTimeout(follow, 250);
    }
  });

  function refresh() {
    const content = document.getElementById("content");
    if (content !== null && !document.hidden && !isInUse(content)) {
      htmx.trigger(content, "refresh");
    }
  }

  document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
    if (event.detail.data === figures) {
      event.preventDefault(); // what has not changed is not said again
      refresh();
    }
    figures = event.detail.data;
  });

  document.body.addEventListener("htmx:sseMessage", refresh);

  // A page that is replaced stays where it was scrolled to, and so does what is scrolled in it.

  let places = [];
  const scrolled = () => Array.from(document.querySelectorAll("#content .scroll, #content pre"));

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id === "content") {
      places = scrolled().map((each) => [each.scrollLeft, each.scrollTop]);
    }
  });

  document.body.addEventListener("htmx:afterSwap", () => {
    prepare();
    const found = scrolled();
    if (found.length === places.length) {
      found.forEach((each, at) => ([each.scrollLeft, each.scrollTop] = places[at]));
    }
    places = [];
  });
  document.addEventListener("visibilitychange", follow);
  live.addEventListener("click", toggle);

  // Keys

  // The rows that have something to open, each with the first of it.
  function rows() {
    const all = Array.from(document.querySelectorAll("#content tbody tr, #content .tree .node"));
    return all.map((row) => [row, row.querySelector("a, summary, button")]).filter(([, first]) => first !== null);
  }

  function step(by) {
    const found = rows();
    const at = found.findIndex(([row]) => row.contains(document.activeElement));
    const next = found[at < 0 ? (by > 0 ? 0 : found.length - 1) : at + by];
    if (next) {
      next[1].focus();
    }
  }

  // Close the menu that somebody is in, who then stands where it opens.
  function close(menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const menu = event.target.closest("details.menu[open]");
    if (event.key === "Escape" && menu !== null) {
      close(menu);
      return;
    }
    if (event.target.matches(TYPING)) {
      if (event.key === "Escape") {
        event.target.blur();
      }
      return;
    }
    const key = event.key;
    if (afterG && key in SCREENS) {
      document.querySelectorAll("header nav a")[SCREENS[key]].click();
    } else if (key === "/") {
      document.getElementById("search").focus();
    } else if (key === "j") {
      step(1);
    } else if (key === "k") {
      step(-1);
    } else if (key === "p") {
      toggle();
    } else if (key === "?") {
      document.getElementById("keys").showModal();
    } else if (key === "Escape" && document.activeElement !== document.body) {
      document.activeElement.blur();
    } else if (key !== "g") {
      return;
    }
    afterG = key === "g" && !afterG;
    if (key === "/") {
      event.preventDefault();
    }
  });

  // Copying

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button !== null) {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    }
  });

  document.addEventListener("input", (event) => {
    if (event.target.form) {
      event.target.form.dataset.dirty = "yes";
    }
  });

  function prepare() {
    // What has failed stands at the end of a traceback.
    document.querySelectorAll("pre[data-end]").forEach((text) => (text.scrollTop = text.scrollHeight));
    if (navigator.clipboard) {
      document.querySelectorAll("[data-copy]").forEach((button) => (button.hidden = false));
    }
  }

  const current = document.querySelector("header nav a[aria-current]");
  if (current !== null) {
    current.scrollIntoView({ block: "nearest", inline: "center" });
  }
  live.hidden = false;
  prepare();
  if (isStill()) {
    follow();
  }
})();

// Makes the pages nicer; every page works without it.
"use strict";
(() => {
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const put = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  // A second tap must not send a form twice.
  document.addEventListener("submit", ({ target: form }) => {
    if (!form.matches("form[data-once]")) return;
    setTimeout(() => all("button", form).forEach((button) => { if (button.type === "submit") button.disabled = true; }), 0);
  });
  // A page that comes back out of the browser's memory would show buttons that are off.
  addEventListener("pageshow", (event) => {
    if (event.persisted) all("button[disabled]").forEach((button) => { button.disabled = false; });
  });

  for (const input of all("[data-lowercase]")) {
    input.addEventListener("input", () => {
      const lower = input.value.toLowerCase();
      if (lower !== input.value) {
        const at = input.selectionStart;
        input.value = lower;
        input.setSelectionRange(at, at);
      }
    });
  }
  // What is being mended is no longer marked as wrong; the server judges again.
  for (const input of all("[aria-invalid=true]")) {
    input.addEventListener("input", () => {
      input.removeAttribute("aria-invalid");
      const problem = document.getElementById(input.id + "-error");
      if (problem) problem.hidden = true;
    }, { once: true });
  }
  for (const mirror of all("[data-mirror]")) {
    const input = document.getElementById(mirror.dataset.mirror);
    input?.addEventListener("input", () => {
      mirror.textContent = mirror.dataset.before + (input.value.trim() || "…") + mirror.dataset.after;
    });
  }
  for (const button of all("[data-reveal]")) {
    const input = document.getElementById(button.dataset.reveal);
    if (!input) continue;
    button.hidden = false;
    button.addEventListener("click", () => {
      const shown = input.type === "text";
      input.type = shown ? "password" : "text";
      button.textContent = shown ? button.dataset.show : button.dataset.hide;
      button.setAttribute("aria-pressed", String(!shown));
    });
    input.form?.addEventListener("submit", () => { input.type = "password"; });
  }

  // Strength of a new password: asked for when typing pauses.
  for (const input of all("[data-strength]")) {
    const box = one("[data-strength-box]");
    const meter = one("[data-strength-meter]");
    const text = one("[data-strength-text]");
    let timer, asked = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      box.hidden = input.value === "";
      timer = setTimeout(async () => {
        const number = ++asked;
        if (input.value === "") return;
        const body = new URLSearchParams({
          token: one("input[name=token]", input.form).value,
          name: one("input[name=name]", input.form).value,
          password: input.value.slice(0, 256),
        });
        try {
          const answer = await fetch(input.dataset.strength, { method: "POST", body });
          if (!answer.ok || number !== asked) return;
          const grade = await answer.json();
          meter.value = grade.score + 1;
          text.textContent = grade.text;
        } catch { /* the server judges the form anyway */ }
      }, 250);
    });
  }

  // Time zone: what the browser says, a search, the time there.
  const zone = one("[data-zone]");
  if (zone) {
    const select = one("[data-zone-select]", zone);
    const search = one("[data-zone-search]", zone);
    const count = one("[data-zone-count]", zone);
    const now = one("[data-zone-now]", zone);
    const groups = all("optgroup", select).map((group) => ({ label: group.label, options: all("option", group) }));
    const first = one("option[value='']", select);
    const has = (name) => groups.some((group) => group.options.some((option) => option.value === name));
    let note = "";
    const show = () => {
      let time = "";
      try {
        if (select.value) time = new Date().toLocaleTimeString([], { timeZone: select.value, hour: "2-digit", minute: "2-digit" });
      } catch { /* the browser does not know this zone; the box does */ }
      now.textContent = [note, time && put(zone.dataset.now, { time })].filter(Boolean).join(" · ");
    };
    if (!select.value) {
      let here;
      try { here = Intl.DateTimeFormat().resolvedOptions().timeZone; } catch { /* no guess then */ }
      if (here && has(here)) {
        select.value = here;
        note = put(zone.dataset.suggested, { zone: here.replaceAll("_", " ") });
      }
    }
    show();
    setInterval(show, 15000);
    select.addEventListener("change", () => { note = ""; show(); });
    one("[data-zone-search-box]", zone).hidden = false;
    search.addEventListener("input", () => {
      const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replaceAll("_", " ");
      const wanted = plain(search.value.trim());
      const chosen = select.value;
      const found = [];
      select.replaceChildren(first);
      for (const { label, options } of groups) {
        const matching = options.filter((option) => plain(option.value).includes(wanted) || plain(option.textContent).includes(wanted));
        if (!matching.length) continue;
        const group = document.createElement("optgroup");
        group.label = label;
        group.append(...matching);
        select.append(group);
        found.push(...matching);
      }
      if (wanted && found.length) {
        const starts = found.find((option) => plain(option.textContent).startsWith(wanted));
        select.value = (starts ?? found[0]).value;
      } else {
        select.value = found.some((option) => option.value === chosen) ? chosen : "";
      }
      note = "";
      count.textContent = !wanted ? "" : found.length ? put(zone.dataset.matches, { n: found.length }) : zone.dataset.none;
      show();
    });
    search.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  }

  // Growing: ask until it is over, then show the page anew for its buttons.
  const poll = one("[data-poll]");
  if (poll && one("[data-phase=growing]", poll)) {
    const ask = async () => {
      try {
        const answer = await fetch(poll.dataset.poll);
        if (answer.ok) {
          const status = await answer.json();
          poll.innerHTML = status.html;
          if (status.failed) return location.reload();
          if (!status.growing) return;
        }
      } catch { /* asked again */ }
      setTimeout(ask, 1000);
    };
    setTimeout(ask, 1000);
  }

  // Waiting for a restart: the box says with each answer which start it is.
  function watchRestart(wait) {
    if (!wait) return;
    const status = one("[data-wait-status]", wait);
    const link = one("[data-wait-link]", wait);
    const say = (text) => { if (status.textContent !== text) status.textContent = text; };
    const began = Date.now();
    link.hidden = true;
    const look = async () => {
      if (!wait.isConnected) return;
      const give = new AbortController();
      const timer = setTimeout(() => give.abort(), 4000);
      try {
        const answer = await fetch("/health", { cache: "no-store", signal: give.signal });
        const boot = answer.headers.get("hearth-boot");
        if (answer.ok && boot && boot !== wait.dataset.waitBoot) {
          say(wait.dataset.back);
          wait.classList.add("over");
          link.hidden = false;
          link.focus();
          return;
        }
      } catch {
        if (Date.now() - began < 180000) say(wait.dataset.down);
      } finally {
        clearTimeout(timer);
      }
      if (Date.now() - began >= 180000) {
        say(wait.dataset.long);
        link.hidden = false;
      }
      setTimeout(look, 1500);
    };
    setTimeout(look, 1500);
  }

  // Live pages.
  const grid = one("[data-events]");
  if (grid && "EventSource" in window) {
    const state = one("[data-live-state]");
    const say = (word, lost) => {
      // While the box restarts, the page says so itself.
      state.hidden = lost && !!one("[data-wait-boot]");
      state.classList.toggle("lost", lost);
      if (state.textContent !== state.dataset[word]) state.textContent = state.dataset[word];
    };
    // A box that goes down may do so without a word: it says something every 15 s.
    const SILENCE = 45000;
    let source, again, heard;
    // The stream was refused: after a restart of the box nobody is logged in, so the page is asked for anew; else later.
    const refused = async () => {
      try {
        const answer = await fetch("/health", { cache: "no-store" });
        const boot = answer.headers.get("hearth-boot");
        if (boot && boot !== grid.dataset.boot && !one("[data-wait-boot]")) return location.reload();
      } catch { /* not there yet */ }
      again = setTimeout(() => { source = undefined; start(); }, 5000);
    };
    const hear = () => {
      clearTimeout(heard);
      heard = setTimeout(() => { say("paused", true); stop(); refused(); }, SILENCE);
    };
    const start = () => {
      if (source) return;
      source = new EventSource(grid.dataset.events);
      hear();
      source.addEventListener("open", () => { hear(); say("live", false); });
      source.addEventListener("still", hear);
      source.addEventListener("error", () => {
        say("paused", true);
        if (source?.readyState === EventSource.CLOSED) refused();
      });
      source.addEventListener("ended", () => { clearTimeout(heard); source.close(); say("ended", true); });
      source.addEventListener("parts", (event) => {
        hear();
        for (const [id, html] of Object.entries(JSON.parse(event.data))) waiting.set(id, html);
        renew();
      });
    };
    const waiting = new Map();
    let later;
    const renew = () => {
      clearTimeout(later);
      for (const [id, html] of waiting) {
        const part = document.getElementById(id);
        if (part && !replace(part, html)) continue;
        waiting.delete(id);
      }
      if (waiting.size) later = setTimeout(renew, 400);
    };
    // What a person is about to press is not taken from under the finger: then it is tried again in a moment.
    const replace = (part, html) => {
      if (part.matches(":active")) return false;
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const fresh = document.createElement("template");
      fresh.innerHTML = html;
      // Its services end one by one before it restarts: what is waited for is still true.
      if (one("[data-wait-boot]", part) && one("[data-phase=unreachable]", fresh.content)) return true;
      const same = focused && focused.dataset.testid && one(`[data-testid="${focused.dataset.testid}"]`, fresh.content);
      if (focused && !same && !one("[data-wait-boot]", fresh.content)) return false;
      const open = one("details", part)?.open;
      part.replaceChildren(fresh.content);
      const details = one("details", part);
      if (details && open) details.open = true;
      same?.focus({ preventScroll: true });
      watchRestart(one("[data-wait-boot]", part));
      return true;
    };
    const stop = () => { clearTimeout(again); clearTimeout(heard); source?.close(); source = undefined; };
    // A page in the background asks for nothing.
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
    addEventListener("pagehide", stop);
    start();
  }
  watchRestart(one("[data-wait-boot]"));
})();

// Keeps the page up to date. What it puts there was rendered by the server: it replaces
// elements by their IDs, and keeps what is open, focused or selected as it is.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const parser = document.createElement("template");
  const find = $("q");

  function parse(html) {
    parser.innerHTML = html;
    return parser.content.firstElementChild;
  }

  // morph makes old what fresh is, and touches nothing that is so already.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open" && name !== "hidden") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const was = [...old.childNodes];
    const is = [...fresh.childNodes];
    is.forEach((node, n) => (n < was.length ? morph(was[n], node) : old.append(node)));
    was.slice(is.length).forEach((node) => node.remove());
  }

  // order gives a list the children of ids, in that order.
  function order(list, ids, parts) {
    let next = list.firstElementChild;
    for (const id of ids) {
      const child = $(id) || parse(parts[id]);
      if (child === next) next = next.nextElementSibling;
      else list.insertBefore(child, next);
    }
    while (next) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
  }

  function apply(news) {
    if (news.shape !== root.dataset.shape) return location.reload(); // other services
    for (const [id, html] of Object.entries(news.parts)) {
      const old = $(id);
      if (old) morph(old, parse(html));
    }
    for (const [id, ids] of Object.entries(news.lists)) order($(id), ids, news.parts);
    finish();
  }

  // finish does what the server cannot.
  function finish() {
    document.title = $("top").dataset.title;
    filter();
    document.querySelectorAll(".head").forEach(draw);
  }

  // Calls by second of the last half minute, for as long as the page is open.
  const lately = new Map();
  function sample() {
    for (const head of document.querySelectorAll(".head")) {
      const past = lately.get(head.id) || lately.set(head.id, []).get(head.id);
      past.push({ at: performance.now() / 1000, calls: +head.dataset.calls, failed: +head.dataset.failed });
      if (past.length > 33) past.shift();
      draw(head);
    }
  }
  function draw(head) {
    const past = lately.get(head.id) || [];
    if (past.length < 4) return;
    const rates = (what) => past.slice(3).map((p, n) => Math.max(0, (p[what] - past[n][what]) / (p.at - past[n].at)));
    const calls = rates("calls");
    const most = Math.max(1, ...calls);
    const now = calls[calls.length - 1];
    head.querySelector(".rate").textContent = now.toFixed(now < 10 ? 1 : 0) + "/s";
    const area = (values, name) => {
      const p = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
      const x = (n) => 120 - (values.length - 1 - n) * 4;
      p.setAttribute("class", name);
      p.setAttribute("points", [`${x(0)},22`, ...values.map((v, n) => `${x(n)},${(22 - (v / most) * 20).toFixed(1)}`), "120,22"].join(" "));
      return p;
    };
    head.querySelector(".spark").replaceChildren(area(calls, "calls"), area(rates("failed"), "failed"));
  }

  // filter hides the instances that do not fit.
  function filter() {
    let words = find.value.trim().toLowerCase();
    if (!("live" in root.dataset) && find.value === find.defaultValue) words = ""; // the server has found them
    for (const body of document.querySelectorAll(".instances tbody")) {
      let shown = 0;
      for (const row of body.rows) {
        const fits = !words || row.textContent.toLowerCase().includes(words);
        if (row.hidden === fits) row.hidden = !fits;
        if (fits) shown++;
      }
      body.closest(".scroll").dataset.found = words ? `${shown} of ${body.rows.length} shown fit the filter` : "";
    }
  }
  find.addEventListener("input", filter);
  find.form.addEventListener("submit", (e) => {
    // The server finds those too that the page does not show.
    if (!("cut" in root.dataset) && "live" in root.dataset) e.preventDefault();
  });
  document.addEventListener("keydown", (e) => {
    const typing = e.target.closest && e.target.closest("input, textarea");
    if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
      e.preventDefault();
      find.focus();
    } else if (e.key === "Escape" && e.target === find) {
      find.value = "";
      filter();
    }
  });

  // The stream, and whether there is one.
  const live = $("live");
  function say(state, text) {
    if (live.dataset.state === state && $("live-text").textContent === text) return; // nor say it aloud again
    live.dataset.state = state;
    $("live-text").textContent = text;
  }
  let heard = 0;
  function listen() {
    const source = new EventSource("?format=events");
    const hear = () => {
      heard = Date.now();
      say("live", "live");
    };
    source.addEventListener("news", (e) => {
      hear();
      apply(JSON.parse(e.data));
    });
    source.addEventListener("beat", hear);
    source.onerror = () => {
      say("lost", "not live: no connection");
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000); // refused: it does not try again itself
    };
  }
  finish();
  if ("live" in root.dataset) {
    say("wait", "connecting");
    listen();
    setInterval(sample, 1000);
    setInterval(() => {
      if (heard && Date.now() - heard > 15000) say("lost", "not live: no answer");
    }, 5000);
  }
})();

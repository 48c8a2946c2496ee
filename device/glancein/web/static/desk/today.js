// The live list, and the tiles that filter the table of people.

import { call } from "./forms.js";

const list = document.getElementById("live");
const words = JSON.parse(list.dataset.words);
const state = document.getElementById("live-state");
const MOST = 30;

function made(tag, text, className) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) { node.className = className; }
  return node;
}

function item(event) {
  const line = document.createElement("li");
  line.className = "fresh";
  line.dataset.event = event.event;
  const time = made("time", event.time.slice(11, 16));
  time.dateTime = event.time;
  const whom = document.createElement("span");
  whom.className = "whom";
  if (event.kind === "check_in") {
    line.append(time, made("span", words[event.direction], `way ${event.direction}`), whom);
    const how = event.method === "face" ? "" : ` · ${words[event.method]}`;
    whom.append(made("b", event.name || event.id), " ", made("small", event.id + how));
  } else {
    line.append(time, made("span", "✎", "way note"), whom);
    whom.append(made("b", words.correction.replace("{by}", event.by)), " ");
    whom.append(made("small", words[event.becomes].replace("{what}", event.what)));
  }
  return line;
}

function setState(isOn) {
  state.textContent = isOn ? state.dataset.on : state.dataset.off;
  state.classList.toggle("on", isOn);
}

let filter = "";
function applyFilter() {
  for (const row of document.querySelectorAll("#today tbody tr")) {
    const fits = !filter || (filter === "late" ? "late" in row.dataset : row.dataset.presence === filter);
    row.hidden = !fits;
  }
  for (const tile of document.querySelectorAll("[data-filter]")) {
    tile.setAttribute("aria-pressed", String(tile.dataset.filter === filter));
  }
}

for (const tile of document.querySelectorAll("[data-filter]")) {
  tile.addEventListener("click", () => {
    filter = filter === tile.dataset.filter ? "" : tile.dataset.filter;
    applyFilter();
  });
}

// The punch itself is in the list at once. The table follows: soon after a quiet time, and at a busy door
// every 20 to 30 seconds, so that thirty open desks do not slow the kiosk down.
let waiting = 0;
let lately = 0;
function refreshSoon() {
  if (waiting) { return; }
  const pause = Math.max(1500, lately + 20000 - Date.now()) + Math.random() * 1500;
  waiting = setTimeout(() => { waiting = 0; refresh(); }, lately + 20000 > Date.now() ? pause + Math.random() * 8500 : pause);
}

/** Put in the lines that are not there yet, each where it belongs: the stream brings some, a refresh what a page that slept,
 * or whose line was away, has missed, and either may be first. */
function put(lines) {
  const known = new Set([...list.children].map((line) => line.dataset.event));
  for (const line of lines.filter((one) => !known.has(one.dataset.event))) {
    list.insertBefore(line, [...list.children].find((one) => isOlder(one, line)) ?? null);
  }
  trim();
}

/** True for a smaller number in the same database, and for one of the database before. */
function isOlder(one, line) {
  const [[place, number], [ourPlace, ourNumber]] = [one, line].map((at) => at.dataset.event.split(/\/(?=\d+$)/));
  return place !== ourPlace || Number(number) < Number(ourNumber);
}

function trim() {
  while (list.children.length > MOST) { list.lastElementChild.remove(); }
  document.getElementById("live-empty").hidden = list.children.length > 0;
}

async function refresh() {
  lately = Date.now();
  const answer = await fetch("/", { credentials: "same-origin" });
  if (answer.status >= 500) { return; } // the database is busy or the service restarts: try again later
  if (!answer.ok || answer.redirected) { location.assign("/sign-in"); return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector(".head h1").replaceWith(fresh.querySelector(".head h1")); // it may be another day
  put([...fresh.getElementById("live").children]);
  const body = fresh.querySelector("#today tbody");
  const mine = document.querySelector("#today tbody");
  const focused = mine?.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  if (body && mine) { mine.replaceWith(document.adoptNode(body)); } else if (body) { location.reload(); }
  for (const count of document.querySelectorAll("[data-count]")) {
    const now = fresh.querySelector(`[data-count="${count.dataset.count}"]`);
    if (now) { count.textContent = now.textContent; }
  }
  applyFilter();
  if (focused) { focusAgain(focused); }
}

/** A keyboard goes on from the row where it was, wherever that row now stands. */
function focusAgain(href) {
  const link = [...document.querySelectorAll("#today tbody a")].find((one) => one.getAttribute("href") === href);
  link?.focus({ preventScroll: true });
}

const source = new EventSource("/api/v1/stream");
source.addEventListener("open", () => { setState(true); refreshSoon(); });
source.addEventListener("error", async () => {
  setState(false);
  if (source.readyState === EventSource.CLOSED) {
    try { await call("GET", "/api/v1/today"); } catch { /* the service is away: try again below */ }
    setTimeout(() => location.reload(), 5000);
  }
});
source.addEventListener("punch", (message) => {
  const event = JSON.parse(message.data);
  if (event.kind === "time_fix") { refreshSoon(); return; }
  put([item(event)]);
  refreshSoon();
});
setInterval(refresh, 60000);

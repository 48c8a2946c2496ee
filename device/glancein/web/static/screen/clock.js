// The kiosk's own time, not the browser's: each pulse brings it with its offset from UTC.
import { locale } from "./words.js";

const hour12 = document.body.dataset.hours === "12";
let ahead = null; // ms the kiosk's local time is ahead of performance.now()

/** Take over the kiosk's time, such as 2026-03-02T08:59:10.123+09:00. */
export function set(text) {
  ahead = local(text).getTime() - performance.now();
}

/** The wall time that stands in the text, as if it were UTC: so no other zone can come in between. */
const local = (text) => new Date(text.slice(0, 23).replace(/[+Z].*$/, "") + "Z");

/** Time of day, such as { time: "8:59", half: "am" }. */
function parts(date) {
  const shown = new Intl.DateTimeFormat(locale(), { hour: "numeric", minute: "2-digit", hour12, timeZone: "UTC" });
  const pieces = shown.formatToParts(date);
  const half = pieces.find((piece) => piece.type === "dayPeriod")?.value ?? "";
  const hour = pieces.find((piece) => piece.type === "hour").value.padStart(hour12 ? 1 : 2, "0");
  const minute = pieces.find((piece) => piece.type === "minute").value;
  return { time: `${hour}:${minute}`, half };
}

/** The time of an event in words. */
export function timeOf(text) {
  return inWords(parts(local(text)));
}

/** In Korean the half of the day comes first. */
function inWords({ time, half }) {
  if (!half) return time;
  return locale().startsWith("ko") ? `${half} ${time}` : `${time} ${half}`;
}

function show() {
  if (ahead === null) return;
  const now = new Date(performance.now() + ahead);
  const { time, half } = parts(now);
  const day = new Intl.DateTimeFormat(locale(), { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });
  put("clock-time", time);
  put("clock-half", half);
  put("date", day.format(now));
  put("small-clock", inWords({ time, half }));
}

function put(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

setInterval(show, 250);
document.addEventListener("language", show);

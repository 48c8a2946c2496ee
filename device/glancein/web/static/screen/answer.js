// The one large answer: shape, word and colour together, for a few seconds.
import { timeOf } from "./clock.js";
import { speak, tone } from "./sound.js";
import { ask } from "./stream.js";
import { has, say } from "./words.js";

const body = document.body;
const cover = byId("answer");
const left = byId("left").firstElementChild;
const ANSWER_MS = 1000 * Number(body.dataset.answer);
const REPEAT_MS = 3000;
const REFUSED_MS = 7000;
const LOUD_MS = 15000;

// Codes of refusals that need an answer; every other one is guidance beside the picture.
const FINAL = new Set(["unknown", "ambiguous", "no_agreement", "empty_gallery", "pass_refused"]);

let shown = null; // the answer that is up
let timer = 0;

function byId(id) {
  return document.getElementById(id);
}

/** True while an answer covers the page. */
export const isUp = () => shown !== null;

/**
 * Take an answer of the kiosk; true if it covers the page now.
 * One with an `age_s` was up before this page came: it is shown in silence, for the rest of its time.
 */
export function take(answer) {
  if (answer.kind === "refused" && !FINAL.has(answer.reason)) {
    speak(`reason.${answer.reason}`);
    return false;
  }
  const look = LOOKS[answer.kind];
  const rest = look.stay(answer) - 1000 * (answer.age_s ?? 0);
  if (rest <= 0) return false;
  shown = answer;
  paint();
  if (answer.age_s === undefined) {
    tone(answer.kind === "recorded" && answer.direction === "out" ? "out" : look.tone);
    speak(look.voice(answer));
  }
  cover.classList.remove("enter");
  void cover.offsetWidth; // begins the animation anew
  cover.classList.add("enter");
  stay(rest);
  return true;
}

/** Take the answer away. */
export function hide() {
  clearTimeout(timer);
  shown = null;
  cover.hidden = true;
  document.dispatchEvent(new Event("answered"));
}

function stay(ms) {
  clearTimeout(timer);
  timer = setTimeout(ended, ms);
  left.getAnimations().forEach((old) => old.cancel());
  left.animate([{ transform: "scaleX(1)" }, { transform: "scaleX(0)" }], { duration: ms });
}

function ended() {
  if (shown?.kind === "choice") return take({ kind: "missed" });
  hide();
}

const punch = (answer) => `${answer.direction}.done`;
const LOOKS = {
  recorded: { colour: "good", shape: "good", tone: "good", voice: punch, stay: () => ANSWER_MS },
  repeat: { colour: "wait", shape: "wait", tone: "wait", voice: (a) => `repeat.${a.direction}`, stay: () => REPEAT_MS },
  refused: { colour: "wait", shape: "wait", tone: "wait", voice: () => "refused.title", stay: () => REFUSED_MS },
  withdrawn: { colour: "wait", shape: "wait", tone: "wait", voice: () => "not_you.done", stay: () => REFUSED_MS },
  missed: { colour: "wait", shape: "wait", tone: "wait", voice: () => "choice.missed", stay: () => REPEAT_MS },
  late: { colour: "wait", shape: "wait", tone: "wait", voice: () => "not_you.late", stay: () => REFUSED_MS },
  not_recorded: { colour: "bad", shape: "bad", tone: "bad", voice: () => "not_recorded.detail", stay: () => LOUD_MS },
  choice: { colour: "ask", shape: null, tone: "wait", voice: () => "choice.voice", stay: (a) => 1000 * a.patience_s - 500 },
};

/** Everything that an answer says, in the language that is shown. */
function paint() {
  if (shown === null) return;
  const look = LOOKS[shown.kind];
  cover.className = `cover ${look.colour}`;
  cover.dataset.kind = shown.kind;
  cover.hidden = false;
  cover.setAttribute("role", look.colour === "good" ? "status" : "alert");
  byId("shape").toggleAttribute("hidden", look.shape === null);
  if (look.shape) byId("shape-use").setAttribute("href", `#shape-${look.shape}`);
  const texts = TEXTS[shown.kind](shown);
  for (const id of ["greeting", "headline", "today", "detail"]) byId(id).textContent = texts[id] ?? "";
  paintDirection(texts);
  byId("not-you").hidden = shown.kind !== "recorded";
  byId("answer-ways").hidden = !["refused", "withdrawn"].includes(shown.kind);
  for (const way of ["in", "out"]) {
    byId(`choose-${way}`).hidden = shown.kind !== "choice";
    byId(`choose-${way}`).classList.toggle("likely", shown.suggested === way);
  }
  if (shown.kind === "choice") byId(`choose-${shown.suggested}`).focus({ preventScroll: true });
  else if (cover.contains(document.activeElement) || document.activeElement === body) cover.focus({ preventScroll: true });
}

function paintDirection({ direction }) {
  byId("direction").hidden = !direction;
  if (!direction) return;
  byId("direction-use").setAttribute("href", `#arrow-${shown.direction}`);
  byId("direction-word").textContent = direction;
  byId("at").textContent = [
    say("answer.at", { time: timeOf(shown.time) }),
    say(`answer.method.${shown.method}`),
  ].filter(Boolean).join(" · ");
}

const TEXTS = {
  recorded: (a) => ({
    greeting: say(`${a.direction}.greeting`),
    headline: a.who,
    direction: say(`${a.direction}.done`),
    today: today(a.hours_today),
    detail: a.clock_unset ? say("answer.clock_unset") : "",
  }),
  repeat: (a) => ({ headline: a.who, direction: say(`repeat.${a.direction}`), today: today(a.hours_today) }),
  refused: (a) => ({
    headline: say("refused.title"),
    detail: `${say(has(a.reason) ? a.reason : `reason.${a.reason}`)} ${say("refused.other_way")}`,
  }),
  withdrawn: () => ({ headline: say("not_you.done"), detail: say("not_you.next") }),
  missed: () => ({ headline: say("choice.missed"), detail: say("choice.missed_detail") }),
  late: () => ({ headline: say("not_you.not_done"), detail: say("not_you.late") }),
  not_recorded: () => ({ headline: say("not_recorded.title"), detail: say("not_recorded.detail") }),
  choice: (a) => ({ headline: say("choice.title", { who: a.who }) }),
};

function today(hours) {
  const minutes = Math.floor((hours ?? 0) * 60 + 1e-6);
  if (minutes === 0) return ""; // the first check-in of the day
  return say("answer.today", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

let isAsking = false;

/** What a touch on an answer asks of the kiosk, once: a second touch would be refused and hide what came of the first. */
async function askOnce(path, fields, otherwise) {
  if (isAsking) return;
  isAsking = true;
  const asked = shown;
  const done = await ask(path, fields);
  isAsking = false;
  if (!done?.ok && shown === asked) take({ kind: otherwise });
}

byId("not-you").addEventListener("click", () => {
  if (shown?.kind === "recorded") askOnce("/not-you", shown.event, "late");
});

for (const way of ["in", "out"]) {
  byId(`choose-${way}`).addEventListener("click", () => {
    if (shown?.kind === "choice") askOnce("/direction", { token: shown.token, direction: way }, "missed");
  });
}

document.addEventListener("language", paint);
document.addEventListener("keydown", (event) => {
  if (shown?.kind === "choice" && event.key === "ArrowLeft") byId("choose-in").focus();
  if (shown?.kind === "choice" && event.key === "ArrowRight") byId("choose-out").focus();
  if (event.key === "Escape" && shown && !["choice", "not_recorded"].includes(shown.kind)) hide();
});

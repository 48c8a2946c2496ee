// The kiosk's screen: what the kiosk says becomes what one sees. It decides nothing.
import * as answer from "./answer.js";
import * as clock from "./clock.js";
import * as pad from "./pad.js";
import * as picture from "./picture.js";
import * as sound from "./sound.js";
import { listen } from "./stream.js";
import * as words from "./words.js";

const body = document.body;
const byId = (id) => document.getElementById(id);
const guidance = byId("guidance");
const STEADY_MS = 450; // a reason that flickers past is not read out
const AWAY_MS = 4000; // without a face for so long, the page rests
const OWN_WAYS_MS = 60000; // language and sound go back to the kiosk's own

// Reasons that single frames give and a whole visit decides: no guidance helps.
const UNSURE = new Set(["unknown", "ambiguous", "no_agreement"]);

let reason = null;
let reasonSince = 0;
let isKnown = false;
let isAnswered = false; // who stands there has had their answer
let faceAt = -Infinity;
let touchedAt = performance.now();
let isLost = false;
let last = {};

function heard(kind, data) {
  if (isLost) found();
  if (kind === "pulse") pulse(data);
  else if (kind === "sight") sight(data);
  else if (answer.take(data)) {
    isAnswered = true;
    if (["recorded", "repeat", "not_recorded", "choice"].includes(data.kind)) pad.yieldTo(data);
    settle();
  }
}

function pulse(data) {
  clock.set(data.now);
  last = data;
  bands();
}

/** The states that cannot be overlooked. */
function bands() {
  band("offline", last.feed === false && `${words.say("offline")}. ${words.say("offline.detail", last)}`);
  band("blind", last.camera === false && `${words.say("camera_lost")}. ${words.say("camera_lost.detail")}`);
  band("unrecorded", last.unrecorded > 0 && words.say("not_recorded.banner"));
}

function band(id, text) {
  const element = byId(id);
  element.hidden = !text;
  if (text && element.textContent !== text) element.textContent = text;
}

function sight(data) {
  picture.mark(data, data.reason !== null && !UNSURE.has(data.reason));
  const now = performance.now();
  if (data.face !== null) faceAt = now;
  else isAnswered = false;
  isKnown = data.known;
  if (data.reason !== reason) {
    reason = data.reason;
    reasonSince = now;
  }
  settle();
}

/** What the page shows now: an answer, guidance, one moment, or rest. */
function settle() {
  const now = performance.now();
  const isNear = now - faceAt < AWAY_MS;
  const state = isLost ? "lost" : answer.isUp() ? "answer" : pad.isOpen() ? "pad" : isNear ? "looking" : "idle";
  body.dataset.state = state;
  guide(state === "looking", now);
  if (now - touchedAt > OWN_WAYS_MS && state === "idle") ownWays();
}

function guide(isLooking, now) {
  const isHere = now - faceAt < 1500;
  const isWrong = isLooking && isHere && reason !== null && !UNSURE.has(reason) && now - reasonSince >= STEADY_MS;
  let text = "";
  if (isWrong) text = words.say(`reason.${reason}`);
  else if (isLooking && !isHere) text = words.say("reason.no_face");
  else if (isLooking && isAnswered) text = isKnown ? "" : words.say("refused.other_way");
  else if (isLooking) text = words.say("looking");
  guidance.classList.toggle("wrong", isWrong);
  if (guidance.textContent !== text) guidance.textContent = text;
}

function lost() {
  isLost = true;
  pad.close();
  picture.stop();
  byId("lost").hidden = false;
  sound.tone("bad");
  settle();
}

function found() {
  isLost = false;
  byId("lost").hidden = true;
  picture.start();
}

function ownWays() {
  touchedAt = Infinity;
  if (words.current() !== body.dataset.language) words.change(true);
  sound.change(true);
  controls();
}

function controls() {
  byId("language-name").textContent = words.next().name;
  byId("language-name").lang = words.next().code;
  byId("sound-name").textContent = words.say(`sound.${sound.state()}`);
  byId("next-sound").setAttribute("aria-label", words.say("sound.label", { state: words.say(`sound.${sound.state()}`) }));
  byId("sound-sign").setAttribute("href", sound.state() === "off" ? "#sign-mute" : "#sign-sound");
  const isHigh = document.documentElement.dataset.contrast === "high";
  byId("contrast").setAttribute("aria-pressed", String(isHigh));
}

byId("open-pad").addEventListener("click", () => {
  pad.open();
  settle();
});
byId("answer-ways").addEventListener("click", () => {
  answer.hide();
  pad.open();
  settle();
});
byId("next-language").addEventListener("click", () => {
  words.change();
  controls();
});
byId("next-sound").addEventListener("click", () => {
  sound.change();
  controls();
  sound.tone("good");
});
byId("contrast").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.contrast = root.dataset.contrast === "high" ? "normal" : "high";
  controls();
});
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => (touchedAt = performance.now()), true);
document.addEventListener("answered", settle);
document.addEventListener("language", bands);
byId("live").addEventListener("error", () => setTimeout(() => isLost || picture.start(), 1000));
setInterval(settle, 300);

words.paint();
controls();
picture.start();
listen(body.dataset.boot, heard, lost);

// Number and PIN, on large keys low on the page or on any keyboard.
import { speak, tone } from "./sound.js";
import { ask } from "./stream.js";
import { say } from "./words.js";

const pad = document.getElementById("pad");
const form = document.getElementById("pad-form");
const number = document.getElementById("number");
const pin = document.getElementById("pin");
const says = document.getElementById("pad-says");
const enter = document.getElementById("key-enter");
const AWAY_MS = 25000;

let field = number;
let timer = 0;

/** True while the pad is open. */
export const isOpen = () => pad.open;

/** Close the pad unless somebody is typing: who comes by face behind them does not wipe a number half typed. */
export function yieldTo(answer) {
  const isTyping = pad.open && (number.value || pin.value);
  if (!isTyping || ["pin", "qr"].includes(answer.method)) close();
}

/** Open the pad, empty. */
export function open() {
  form.reset();
  says.textContent = "";
  if (!pad.open) pad.showModal();
  enterField(number);
  wait();
}

/** Close the pad; what was typed is forgotten. */
export function close() {
  clearTimeout(timer);
  form.reset();
  if (pad.open) pad.close();
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(close, AWAY_MS);
}

function enterField(next) {
  field = next;
  field.focus();
  enter.textContent = say(field === number ? "pin.next" : "pin.enter");
}

function press(key) {
  wait();
  tone("key");
  says.textContent = "";
  if (key === "delete") field.value = field.value.slice(0, -1);
  else if (field.value.length < field.maxLength) field.value += key;
}

async function submit() {
  if (field === number) {
    if (number.value) enterField(pin);
    return;
  }
  if (!pin.value) return;
  wait();
  says.textContent = say("pin.checking");
  enter.disabled = true;
  const done = await ask("/pin", { number: number.value, pin: pin.value });
  enter.disabled = false;
  if (done?.ok) return close();
  const why = done === null ? "lost.title" : (done.refused ?? "pin.trouble");
  says.textContent = say(why);
  tone("wait");
  speak(why);
  pin.value = "";
  enterField(pin);
}

document.getElementById("keys").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.value;
  if (key === "close") close();
  else if (key && key !== "enter") press(key);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("input", wait);
for (const one of [number, pin]) {
  one.addEventListener("focus", () => {
    field = one;
    enter.textContent = say(field === number ? "pin.next" : "pin.enter");
  });
}
pad.addEventListener("close", () => {
  clearTimeout(timer);
  document.dispatchEvent(new Event("answered"));
});
document.addEventListener("language", () => {
  document.getElementById("key-delete").setAttribute("aria-label", say("pin.delete"));
  enter.textContent = say(field === number ? "pin.next" : "pin.enter");
});

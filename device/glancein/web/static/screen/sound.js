// Tones made here, or a voice that speaks from this machine: nothing is fetched and nothing leaves.
import { current, locale, say } from "./words.js";

const KINDS = ["off", "tones", "voice"];
const TONES = {
  good: [[660, 0], [990, 0.12]],
  out: [[990, 0], [660, 0.12]],
  wait: [[440, 0], [440, 0.22]],
  bad: [[220, 0], [196, 0.25], [220, 0.5], [196, 0.75]],
  key: [[1200, 0]],
};
const chosen = document.body.dataset.sound;
let kind = chosen;
let audio = null;

/** What is let hear: off, tones or voice. */
export const state = () => kind;

/** The next kind of sound, or the kiosk's own again. */
export function change(toFirst = false) {
  kind = toFirst ? chosen : KINDS[(KINDS.indexOf(kind) + 1) % KINDS.length];
  if (kind !== "voice") globalThis.speechSynthesis?.cancel();
}

/** A short melody; the bad one is loud whatever else is heard. */
export function tone(name) {
  if (kind === "off") return;
  try {
    audio ??= new AudioContext();
    audio.resume();
    for (const [hertz, after] of TONES[name]) beep(hertz, audio.currentTime + after, name === "key" ? 0.03 : 0.14, name);
  } catch {
    // a machine without sound
  }
}

function beep(hertz, at, seconds, name) {
  const swing = audio.createOscillator();
  const volume = audio.createGain();
  swing.type = name === "bad" ? "square" : "sine";
  swing.frequency.value = hertz;
  volume.gain.setValueAtTime(0, at);
  volume.gain.linearRampToValueAtTime(name === "key" ? 0.05 : 0.2, at + 0.015);
  volume.gain.exponentialRampToValueAtTime(0.0005, at + seconds);
  swing.connect(volume).connect(audio.destination);
  swing.start(at);
  swing.stop(at + seconds + 0.02);
}

/** Say a sentence in the page's language if a voice of this machine can; never a name. */
export function speak(key) {
  const synthesis = globalThis.speechSynthesis;
  if (kind !== "voice" || !synthesis || !say(key)) return;
  const sentence = new SpeechSynthesisUtterance(say(key));
  sentence.lang = locale();
  const voices = synthesis.getVoices().filter((voice) => voice.localService);
  sentence.voice = voices.find((voice) => voice.lang.replace("_", "-").startsWith(current())) ?? null;
  synthesis.cancel();
  synthesis.speak(sentence);
}

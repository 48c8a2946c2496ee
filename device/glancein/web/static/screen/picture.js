// The mirror and the frame around the face, drawn where the kiosk's own finder sees it.
const live = document.getElementById("live");
const frame = document.getElementById("frame");
const line = document.getElementById("frame-line");
const ROOM = 0.16; // of the face's size, left free around it

/** Begin to show the picture, or begin again after the kiosk was away. */
export function start() {
  live.src = `/live.mjpeg?${Date.now()}`;
}

/** Let the connection go. */
export function stop() {
  live.removeAttribute("src");
}

/** Move the frame to the face of a sight: shares of the mirrored picture. */
export function mark({ face, known }, isWrong) {
  const isNew = !frame.classList.contains("shown");
  frame.classList.toggle("shown", face !== null && live.naturalWidth > 0);
  frame.classList.toggle("wrong", isWrong);
  frame.classList.toggle("known", known);
  if (face === null || !live.naturalWidth) return;
  // The picture covers the page: scaled to fill it, what is too much cut off on both sides.
  const scale = Math.max(innerWidth / live.naturalWidth, innerHeight / live.naturalHeight);
  const width = live.naturalWidth * scale;
  const height = live.naturalHeight * scale;
  const [left, top, wide, high] = face;
  if (isNew) line.style.transition = "none"; // it appears where the face is and does not fly there
  const room = ROOM * Math.max(wide * width, high * height);
  place("x", left * width + (innerWidth - width) / 2 - room);
  place("y", top * height + (innerHeight - height) / 2 - room);
  place("width", wide * width + 2 * room);
  place("height", high * height + 2 * room);
  if (!isNew) return;
  line.getBoundingClientRect(); // the browser takes the place over before it may move things again
  line.style.removeProperty("transition");
}

/** As a style, not an attribute, so that the browser moves it smoothly. */
function place(name, value) {
  line.style.setProperty(name, `${value.toFixed(1)}px`);
}

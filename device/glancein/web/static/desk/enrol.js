// One photo (drop, file, webcam) is judged at once and enrolled on request; a list runs with a progress bar.

import { call, problem } from "./forms.js";

const words = JSON.parse(document.getElementById("enrol").dataset.words);
const largest = Number(document.getElementById("enrol").dataset.largest);
const byId = (id) => document.getElementById(id);
const form = byId("one");
const drop = byId("drop");
const AT_JOB = "#job=";
let photo = null;
let asked = 0;

function cell(text, className) {
  const node = document.createElement("td");
  if (className === "num") { node.className = className; }
  if (className && className !== "num") {
    const badge = document.createElement("span");
    badge.className = className;
    badge.textContent = text;
    node.append(badge);
  } else {
    node.textContent = text;
  }
  return node;
}

function showChecks(checks) {
  byId("checks").replaceChildren(...checks.map((check) => {
    const row = document.createElement("tr");
    const limit = (check.is_least ? words.at_least : words.at_most).replace("{value}", check.limit);
    row.append(cell(check.name), cell(String(check.value), "num"), cell(limit), cell(words[check.state], `state ${check.state}`));
    return row;
  }));
}

function show(judged) {
  byId("judged").hidden = false;
  byId("crop").hidden = !judged.crop;
  if (judged.crop) { byId("crop").src = judged.crop; }
  byId("refusal").hidden = judged.usable;
  byId("refusal").textContent = judged.usable ? "" : judged.refusal.sentence;
  const ease = judged.ease ?? 0;
  byId("ease").value = ease;
  byId("ease-word").textContent = judged.ease === null ? "–" : ease >= 0.7 ? words.good : ease >= 0.4 ? words.half : words.poor;
  byId("like").textContent = judged.like ? judged.like.sentence : words.like_first;
  byId("like").className = judged.like && judged.like.too_like ? "problem" : "";
  byId("advice").replaceChildren(...judged.findings.map((finding) => {
    const line = document.createElement("li");
    line.textContent = finding.advice;
    return line;
  }));
  showChecks(judged.checks);
  const isDuplicate = !judged.usable && judged.refusal.reason === "duplicate_person";
  byId("duplicate").hidden = !isDuplicate;
  if (!isDuplicate) { form.elements.allow_duplicate.value = ""; } // a reason is for one photo
  byId("go").disabled = !(judged.usable || isDuplicate);
}

async function judge(file) {
  const mine = ++asked;
  problem(form, "");
  byId("done").hidden = true;
  byId("go").disabled = true;
  if (file.size > largest) { // the desk would refuse it after all of it had come
    photo = null;
    byId("judged").hidden = true;
    drop.classList.remove("busy");
    problem(form, words.too_large);
    return;
  }
  photo = file;
  drop.classList.add("busy");
  const body = new FormData();
  body.append("photo", file, file.name || "webcam.jpg");
  body.append("id", form.elements.id.value);
  try {
    const judged = await call("POST", "/api/v1/photos/check", body);
    if (mine === asked) { show(judged); }
  } catch (error) {
    if (mine === asked) {
      byId("judged").hidden = true;
      problem(form, error.message);
    }
  } finally {
    drop.classList.remove("busy");
  }
}

byId("photo").addEventListener("change", (event) => {
  if (event.target.files[0]) { judge(event.target.files[0]); }
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file) { judge(file); }
});
// A file dropped beside the zone would replace this page. Words may still be dragged, and a file onto its own field.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    const isOurs = event.defaultPrevented || event.target.type === "file";
    if (isOurs || !event.dataTransfer.types.includes("Files")) { return; }
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) { judge(file); }
});

// Webcam

let stream = null;
function closeWebcam() {
  if (stream) { stream.getTracks().forEach((track) => track.stop()); }
  stream = null;
  byId("camera").hidden = true;
}
byId("webcam").addEventListener("click", async () => {
  closeWebcam(); // a second click must not leave the first stream, and the camera's light, on
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
    byId("video").srcObject = stream;
    byId("camera").hidden = false;
  } catch {
    problem(form, words.webcam_none);
  }
});
byId("close").addEventListener("click", closeWebcam);
byId("take").addEventListener("click", () => {
  const video = byId("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    closeWebcam();
    if (blob) { judge(new File([blob], "webcam.jpg", { type: "image/jpeg" })); }
  }, "image/jpeg", 0.95);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!photo) { return; }
  byId("go").disabled = true;
  problem(form, "");
  const body = new FormData(form);
  body.append("photo", photo, photo.name || "photo.jpg");
  try {
    const done = await call("POST", "/api/v1/people", body);
    byId("done").textContent = words.done.replace("{id}", done.id);
    byId("done").hidden = false;
    byId("judged").hidden = true;
    if (form.elements.id.readOnly) {
      location.assign(`/person?id=${encodeURIComponent(done.id)}`);
      return;
    }
    form.reset();
    photo = null;
    form.elements.id.focus();
  } catch (error) {
    problem(form, error.message);
    byId("go").disabled = false;
  }
});

// A whole list

const list = byId("list");
if (list) {
  list.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const body = new FormData(list);
      if (list.elements.photos.files.length === 0) { body.delete("photos"); }
      const { job } = await call("POST", "/api/v1/people/bulk", body);
      history.replaceState(null, "", `${AT_JOB}${job}`); // so that a page loaded anew finds it
      await follow(job);
    });
  });
  if (location.hash.startsWith(AT_JOB)) { attempt(() => follow(location.hash.slice(AT_JOB.length))); }
}

async function attempt(act) {
  const button = list.querySelector("button");
  problem(list, "");
  button.disabled = true;
  try {
    await act();
  } catch (error) {
    problem(list, error.message);
  } finally {
    button.disabled = false;
  }
}

/** How far a list has come; it goes on by itself while the line or the desk's database is away. */
async function look(number) {
  for (;;) {
    try {
      return await call("GET", `/api/v1/jobs/${encodeURIComponent(number)}`);
    } catch (error) {
      if (error.status < 500) { throw error; }
      await pause(2000);
    }
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}

async function follow(number) {
  for (;;) {
    const job = await look(number);
    byId("work").hidden = false;
    byId("bar").max = Math.max(1, job.total);
    byId("bar").value = job.done;
    const said = words.progress.replace("{done}", job.done).replace("{total}", job.total);
    const counts = Object.entries(job.counts).map(([status, count]) => `${count} ${words[`status_${status}`] || status}`);
    byId("progress").textContent = [said, ...counts, job.is_done ? words.list_done : ""].filter(Boolean).join(" · ");
    byId("rows").replaceChildren(...job.rows.map((report) => {
      const row = document.createElement("tr");
      const look = report.status === "refused" ? "state bad" : "state ok";
      row.append(cell(String(report.line), "num"), cell(report.id), cell(words[`status_${report.status}`] || report.status, look), cell(report.message));
      return row;
    }));
    if (job.is_done) {
      if (job.error) { problem(list, job.error); }
      return;
    }
    await pause(700);
  }
}

// Forms say in data-api which call they make; this module makes it and shows what came of it.

const csrf = document.querySelector("meta[name=csrf]").content;

/** Call the desk's API; throws an Error with the answer's sentence and status, or fetch's own. */
export async function call(method, path, body) {
  const options = { method, headers: { "x-csrf-token": csrf }, credentials: "same-origin" };
  if (body instanceof FormData) {
    options.body = body;
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  const answer = await fetch(path, options);
  if (answer.status === 401 && !path.endsWith("/sign-in")) {
    location.assign("/sign-in");
  }
  const kind = answer.headers.get("content-type") || "";
  const document_ = kind.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) {
    const error = new Error(document_.error || `${answer.status} ${answer.statusText}`);
    error.details = document_;
    error.status = answer.status;
    throw error;
  }
  return document_;
}

/** Show a sentence at the bottom of the page for a while. */
export function toast(sentence) {
  const place = document.getElementById("toast");
  place.textContent = sentence;
  place.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { place.hidden = true; }, 6000);
}

/** Show a problem in a form, or take it away. */
export function problem(form, sentence) {
  const place = form.querySelector(".problem");
  if (!place) {
    if (sentence) { toast(sentence); }
    return;
  }
  place.textContent = sentence || "";
  place.hidden = !sentence;
}

function fieldsOf(form) {
  const fields = {};
  for (const [name, value] of new FormData(form)) {
    fields[name] = name in fields ? `${fields[name]} ${value}` : value;
  }
  return fields;
}

async function submit(form) {
  const [method, template] = form.dataset.api.split(" ");
  const fields = fieldsOf(form);
  const path = template.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(fields[name]));
  const done = await call(method, path, form.enctype === "multipart/form-data" ? new FormData(form) : fields);
  form.dispatchEvent(new CustomEvent("done", { detail: done, bubbles: true }));
  if (form.dataset.done === "stay") {
    form.reset();
    return;
  }
  const next = done.next || form.dataset.next;
  if (next) { location.assign(next); } else { location.reload(); }
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.api) { return; }
  event.preventDefault();
  if (form.dataset.sure && !window.confirm(form.dataset.sure)) { return; }
  const button = event.submitter || form.querySelector("button");
  button.disabled = true;
  problem(form, "");
  try {
    await submit(form);
  } catch (error) {
    problem(form, error.message);
    form.dispatchEvent(new CustomEvent("refused", { detail: error.details || {}, bubbles: true }));
  } finally {
    button.disabled = false;
  }
});

// On a narrow screen the menu is wider than the page: bring the present entry into sight.
document.querySelector("nav [aria-current=page]")?.scrollIntoView({ block: "nearest", inline: "center" });

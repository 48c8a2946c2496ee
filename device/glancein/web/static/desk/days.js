// The form that notes a punch, and the dialog that corrects one.

// A time that came twice, as clocks were set back, is asked about once more.
document.addEventListener("refused", ({ target, detail }) => {
  const twice = target.querySelector("[data-twice]");
  if (!twice || !detail.offsets) { return; }
  const words = [twice.dataset.first, twice.dataset.second];
  const options = detail.offsets.split(" ").map((offset, which) => new Option(`${words[which]} (${offset})`, offset));
  twice.querySelector("select").replaceChildren(...options);
  twice.hidden = false;
});
for (const twice of document.querySelectorAll("[data-twice]")) {
  const forget = () => {
    twice.hidden = true;
    twice.querySelector("select").replaceChildren();
  };
  const form = twice.closest("form");
  form.addEventListener("reset", forget);
  form.querySelector("input[type=datetime-local]").addEventListener("input", forget);
}

const dialog = document.getElementById("correction");
if (dialog) {
  const form = dialog.querySelector("form");
  const time = document.getElementById("to-time");
  const person = document.getElementById("to-person");
  let direction = "in";

  const settle = () => {
    const kind = form.elements.becomes.value;
    for (const label of form.querySelectorAll("[data-for]")) { label.hidden = label.dataset.for !== kind; }
    time.required = kind === "time";
    const other = direction === "in" ? "out" : "in";
    form.elements.value.value = { time: time.value, direction: other, person: person.value, void: "" }[kind];
  };
  form.addEventListener("input", settle);
  form.addEventListener("submit", settle, { capture: true });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());

  for (const button of document.querySelectorAll("[data-correct]")) {
    button.addEventListener("click", () => {
      form.reset();
      form.elements.event.value = button.dataset.correct;
      direction = button.dataset.direction;
      time.value = button.dataset.time;
      document.getElementById("correction-of").textContent = button.dataset.time.replace("T", " ");
      settle();
      dialog.showModal();
    });
  }
}

// A new pass is shown once; an erasure leaves a receipt.

const pass = document.getElementById("pass");
if (pass) {
  pass.addEventListener("done", (event) => {
    const figure = document.getElementById("qr");
    figure.querySelector("img").src = event.detail.png;
    figure.hidden = false;
    figure.scrollIntoView({ block: "nearest" });
  });
}

const erase = document.getElementById("erase");
if (erase) {
  erase.addEventListener("done", (event) => {
    const place = document.getElementById("receipt");
    const words = JSON.parse(place.dataset.words);
    const receipt = event.detail;
    const title = document.createElement("h3");
    title.textContent = words.receipt.replace("{number}", receipt.receipt);
    const facts = document.createElement("p");
    facts.textContent = `${receipt.id} · ${receipt.at} · ${receipt.by}`;
    const list = document.createElement("ul");
    for (const [what, count] of Object.entries(receipt.erased)) {
      const line = document.createElement("li");
      line.textContent = `${count} ${words[what]}`;
      list.append(line);
    }
    const kept = document.createElement("p");
    kept.textContent = words.kept;
    place.replaceChildren(title, facts, list, kept);
    for (const file of receipt.may_still_be_in) {
      const warning = document.createElement("p");
      warning.className = "problem";
      warning.textContent = words.still.replace("{file}", file);
      place.append(warning);
    }
    place.hidden = false;
    erase.hidden = true;
    document.getElementById("person").hidden = true;
  });
}

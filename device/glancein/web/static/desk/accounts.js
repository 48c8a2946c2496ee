// A new token is shown once.

document.getElementById("token").addEventListener("done", (event) => {
  const made = document.getElementById("made");
  made.querySelector("code").textContent = event.detail.token;
  made.hidden = false;
});

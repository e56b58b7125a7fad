// A file that is too large is refused before it is sent, and an installation is begun once. A change is followed until it is made.

const AGAIN_MS = 2000;

for (const form of document.querySelectorAll("[data-install]")) {
  const file = form.querySelector("input[type=file]");
  const said = form.querySelector("[data-said]");
  const button = form.querySelector("button");
  form.addEventListener("submit", (event) => {
    if (button.disabled || (file.files[0] && file.files[0].size > Number(form.dataset.most))) {
      event.preventDefault();
      if (!button.disabled) said.textContent = form.dataset.large;
      return;
    }
    button.disabled = true;
    said.textContent = form.dataset.busy;
  });
  window.addEventListener("pageshow", () => {
    button.disabled = false;
    said.textContent = "";
  });
}

if (document.querySelector("[data-changing]")) {
  const timer = setInterval(() => {
    const chosen = [...document.querySelectorAll("input[type=file]")].some((input) => input.files.length);
    if (!chosen) location.replace("/bundle"); // which would forget the file
  }, AGAIN_MS);
  addEventListener("beforeunload", () => clearInterval(timer)); // or somebody who goes elsewhere is brought back
}

// A file that is too large is refused before it is sent, and an installation is begun once.

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

"use strict";
// Light or dark: as the system has it, until the reader chooses. All pages keep one choice.

// Some browsers keep nothing for pages that are opened from a disk.
const kept = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* then it is not kept */ } },
};

const system = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.querySelector("button.theme");
const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
function changeTheme() {
  themeButton.textContent = isDark() ? "Light page" : "Dark page";
  document.dispatchEvent(new Event("themechange"));
}
themeButton.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  kept.set("course-theme", document.documentElement.dataset.theme);
  changeTheme();
});
system.addEventListener("change", changeTheme);
themeButton.hidden = false;
changeTheme();

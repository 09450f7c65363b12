// What the page does better with a script: filtering while typing, staying up to date, copying commands. Without it
// everything is there all the same.
"use strict";

const every = 10000;

function filterRows() {
  const field = document.querySelector("form.filter input[name=q]");
  if (!field) return;
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of document.querySelectorAll("table.items tbody tr")) {
    const name = row.querySelector("th").textContent.toLowerCase();
    row.hidden = !words.every((word) => name.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  const caption = document.querySelector("table.items caption .shown");
  if (caption && words.length) caption.textContent = String(shown);
}

async function refresh() {
  const live = document.getElementById("live");
  if (!live || document.hidden || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh || live.contains(document.activeElement)) return;
    const typed = live.querySelector("form.filter input[name=q]")?.value;
    const left = live.querySelector(".scroll")?.scrollLeft ?? 0;
    live.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    const field = live.querySelector("form.filter input[name=q]");
    if (field && typed !== undefined) field.value = typed;
    const scroll = live.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = left;
    filterRows();
    document.getElementById("stale")?.remove();
  } catch {
    // An old picture must not be taken for a good one.
    if (!document.getElementById("stale")) {
      const note = document.createElement("p");
      note.id = "stale";
      note.className = "headline bad";
      note.setAttribute("role", "alert");
      note.textContent = "✗ This page is out of date: the server does not answer.";
      live.before(note);
    }
  }
}

function copying() {
  if (!navigator.clipboard) return;
  for (const block of document.querySelectorAll("pre.copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copied";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
    });
    block.append(button);
  }
}

document.addEventListener("input", (event) => {
  if (event.target.matches("form.filter input[name=q]")) filterRows();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("form.filter select")) event.target.form.submit();
});
filterRows();
copying();
setInterval(refresh, every);

// Keeps the page current, and puts its buttons' orders to the gateway.
const page = document.getElementById("page");
let isDue = false, isBusy = false;

async function refresh() {
  if (document.hidden || isBusy) return;
  isDue = false;
  isBusy = true;
  try {
    const answer = await fetch("/", { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
    const scrolled = [...page.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    if (fresh.innerHTML !== page.innerHTML) {
      const focused = document.activeElement?.dataset ?? {};
      page.replaceChildren(...fresh.childNodes);
      page.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] ?? 0; });
      if (focused.verb) page.querySelector(`#${CSS.escape(focused.route)} [data-verb="${focused.verb}"]`)?.focus();
    }
    document.title = "Migration";
  } catch {
    document.title = "Migration (not answering)";
  }
  isBusy = false;
}

async function order({ verb, route, key }, words) {
  const reason = prompt(`${words}: ${key}\n\nWhy? (stands in the events)`, "");
  if (reason === null) return;
  try {
    const answer = await fetch(`/api/routes/${route}/${verb}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ reason, by: "the admin page" }),
    });
    const said = await answer.json();
    if (!answer.ok) alert(said.detail);
    else if (!said.changed) alert(said.sentence);
  } catch {
    alert("The gateway does not answer.");
  }
  refresh();
}

page.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-verb]");
  if (button) order(button.dataset, button.textContent);
});

const stream = new EventSource("/api/stream");
for (const name of ["routes", "events", "trouble"]) stream.addEventListener(name, () => { isDue = true; });
setInterval(() => { if (isDue || stream.readyState !== EventSource.OPEN) refresh(); }, 2000);
setInterval(refresh, 10000);
document.addEventListener("visibilitychange", refresh);

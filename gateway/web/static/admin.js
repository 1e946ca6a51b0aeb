// Keeps the page current: fetches it again every two seconds while it is looked at.
const page = document.getElementById("page");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/", { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
    const scrolled = page.querySelector(".scroll")?.scrollLeft ?? 0;
    if (fresh.innerHTML !== page.innerHTML) {
      page.replaceChildren(...fresh.childNodes);
      const table = page.querySelector(".scroll");
      if (table) table.scrollLeft = scrolled;
    }
    document.title = "Migration";
  } catch {
    document.title = "Migration (not answering)";
  }
}
setInterval(refresh, 2000);

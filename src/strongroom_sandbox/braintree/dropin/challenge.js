// The bank's page: the customer is asked here, and what came of it is kept by the server, not by
// the page around it, which hears only that it is over.
"use strict";
(() => {
  const token = location.hash.slice(1);

  async function answer(outcome) {
    const said = await fetch(`/web/dropin/1/challenges/${encodeURIComponent(token)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ outcome }),
    });
    if (said.ok) {
      // Whoever holds the frame may know that it is over: nothing else is said.
      window.parent.postMessage({ type: "done" }, "*");
    } else {
      document.getElementById("error").hidden = false;
    }
  }

  document.addEventListener("keydown", (event) => {
    // The keys that are pressed in here do not reach the dialog around it.
    if (event.key === "Escape") {
      window.parent.postMessage({ type: "canceled" }, "*");
    }
  });
  document.getElementById("complete").addEventListener("click", () => answer("passed"));
  document.getElementById("fail").addEventListener("click", () => answer("failed"));
})();

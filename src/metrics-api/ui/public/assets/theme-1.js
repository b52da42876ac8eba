// Before the first paint, so that a chosen theme does not flash in the other one. A file of its own,
// because the policy of the page allows no script inside it. Browsers keep assets for ever: what
// changes here changes the number in its name.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // Storage is forbidden: the system's theme stands.
}

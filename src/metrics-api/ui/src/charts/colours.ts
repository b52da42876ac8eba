const known = new Map<string, string>();

/** The value of a colour variable in the present theme; a canvas cannot read CSS by itself. */
export function colour(name: string): string {
  let value = known.get(name);
  if (value === undefined) {
    // Only a used colour is resolved; the variable's own text names those of both themes.
    const probe = document.body.appendChild(document.createElement("span"));
    probe.style.color = `var(${name})`;
    value = getComputedStyle(probe).color;
    probe.remove();
    known.set(name, value);
  }
  return value;
}

/** Call back whenever the theme may have changed, until the returned function is called. */
export function onThemeChange(callback: () => void): () => void {
  const onChange = () => {
    known.clear();
    callback();
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = new MutationObserver(onChange);
  system.addEventListener("change", onChange);
  chosen.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return () => {
    system.removeEventListener("change", onChange);
    chosen.disconnect();
  };
}

import { useEffect, useState } from "react";

type Theme = "light" | "dark";

/** The theme that is seen, and how to change to the other one; a choice is kept. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(present);
  useEffect(() => {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const onChange = () => setTheme(present());
    system.addEventListener("change", onChange);
    return () => system.removeEventListener("change", onChange);
  }, []);
  const toggle = () => {
    const other = present() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = other;
    setTheme(other);
    try {
      localStorage.setItem("theme", other);
    } catch {
      // Storage is forbidden: the choice lasts as long as the page.
    }
  };
  return [theme, toggle];
}

function present(): Theme {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
